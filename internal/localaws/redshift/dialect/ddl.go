package dialect

func (t *translation) create() error { return t.pass() }
func (t *translation) drop() error   { return t.pass() }
func (t *translation) alter() error  { return t.pass() }
