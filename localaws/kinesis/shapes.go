package kinesis

// The shapes of the API that replies are made of. Field names are AWS's.

type hashKeyRange struct {
	StartingHashKey string
	EndingHashKey   string
}

type sequenceRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitempty"`
}

type shardDescription struct {
	ShardId               string
	ParentShardId         string `json:",omitempty"`
	AdjacentParentShardId string `json:",omitempty"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceRange
}

type childShard struct {
	ShardId      string
	ParentShards []string
	HashKeyRange hashKeyRange
}

type streamMode struct{ StreamMode string }

type tag struct {
	Key   string
	Value string
}

// seconds is a time in unix milliseconds, which JSON shows in seconds.
type seconds int64

func (s seconds) MarshalJSON() ([]byte, error) { return appendSeconds(nil, int64(s)), nil }

type monitoring struct{ ShardLevelMetrics []string }

type streamDescription struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamMode
	StreamCreationTimestamp seconds
	RetentionPeriodHours    int
	EnhancedMonitoring      []monitoring
	EncryptionType          string
	MaxRecordSizeInKiB      int

	// Of DescribeStream.
	Shards        []shardDescription `json:",omitempty"`
	HasMoreShards *bool              `json:",omitempty"`
	// Of DescribeStreamSummary.
	OpenShardCount *int `json:",omitempty"`
	ConsumerCount  *int `json:",omitempty"`
}

type streamSummary struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamMode
	StreamCreationTimestamp seconds
}

// target names the stream of a call; StreamARN wins where both are given.
type target struct {
	StreamName *string
	StreamARN  *string
}

func (t *target) named() target { return *t }
