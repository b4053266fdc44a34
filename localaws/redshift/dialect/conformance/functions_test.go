package conformance

import (
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	tests := []struct{ sql, want string }{
		{`SELECT 5/2, -7/2, 'a' || 'b'`, "2|-3|ab"},
		{`SELECT NVL(NULL, 3), NVL2('x', 1, 2), ISNULL(NULL, 4), LEN('héy'), OCTET_LENGTH('hé')`, "3|1|4|3|3"},
		{`SELECT DECODE(NULL, 1, 'one', NULL, 'none', 'else'), DECODE(7, 1, 'one', 'else'), DECODE(7, 1, 'one')`, "none|else|NULL"},
		{`SELECT DATEDIFF(day, '2024-02-28 23:59', '2024-03-01'), DATEDIFF(hour, '2024-01-01 00:59', '2024-01-01 01:00')`, "2|1"},
		{`SELECT DATEDIFF(month, '2023-12-31', '2024-01-01'), DATEDIFF('qtr', '2023-12-31', '2024-01-01'), DATEDIFF(yrs, '2020-12-31', '2024-01-01')`, "1|1|4"},
		{`SELECT DATEDIFF(week, '2020-01-05', '2020-01-06'), DATEDIFF(s, '2020-01-05', '2020-01-06'), DATEDIFF(ms, '2020-01-05 00:00:00', '2020-01-05 00:00:01.5')`, "1|86400|1500"},
		{`SELECT DATEDIFF(month, '2024-03-01', '2024-01-31'), DATEDIFF(century, '1999-01-01', '2001-01-01')`, "-2|1"},
		{
			`SELECT DATEADD(minute, -5, '2024-01-01'), DATEADD('month', 1, '2024-01-31 10:00'), DATEADD(qtr, 1, '2024-01-01')`,
			"2023-12-31 23:55:00|2024-02-29 10:00:00|2024-04-01 00:00:00",
		},
		{`SELECT DATE_TRUNC('week', '2024-01-07 10:00'), DATE_TRUNC('minute', TIMESTAMP '2024-01-07 10:00:59.5')`, "2024-01-01 00:00:00|2024-01-07 10:00:00"},
		{`SELECT EXTRACT(hour FROM TIMESTAMP '2024-01-07 10:00'), EXTRACT(epoch FROM '1970-01-02'), DATE_PART(dow, '2024-01-07')`, "10|86400|0"},
		{`SELECT TO_CHAR(TIMESTAMP '2024-01-07 15:04:05', 'YYYY-MM-DD HH24:MI:SS'), TO_DATE('07/01/2024', 'DD/MM/YYYY')`, "2024-01-07 15:04:05|2024-01-07 00:00:00"},
		{
			`SELECT CONVERT_TIMEZONE('America/New_York', '2024-01-07 15:00:00'), LAST_DAY('2024-02-03'), ADD_MONTHS('2024-01-31', 1)`,
			"2024-01-07 10:00:00|2024-02-29 00:00:00|2024-02-29 00:00:00",
		},
		{`SELECT CAST(CAST('12.5' AS DECIMAL(10,2)) AS VARCHAR), '3'::INT4 + 1, CAST('abcdef' AS VARCHAR(3)), CONVERT(integer, '7'), '1.5'::FLOAT`, "12.50|4|abc|7|1.5"},
		{`SELECT CHARINDEX('b', 'abc'), BTRIM('  x '), CONCAT('a', 'b'), CONCAT('a', NULL), STRPOS('abc', 'c')`, "2|x|ab|NULL|3"},
		{`SELECT LISTAGG(x, ',') WITHIN GROUP (ORDER BY x DESC), LISTAGG(DISTINCT 'q'), MEDIAN(x) FROM (SELECT 1 AS x UNION ALL SELECT 2 UNION ALL SELECT 6) s`, "6,2,1|q|2"},
		{`SELECT TOP 2 x FROM (SELECT TOP 3 x FROM (SELECT 1 AS x UNION ALL SELECT 2 UNION ALL SELECT 3) a ORDER BY x DESC) b ORDER BY x`, "1;2"},
		{`SELECT x FROM (SELECT 1 AS x UNION ALL SELECT NULL) s ORDER BY x DESC`, "NULL;1"},
		{`SELECT APPROXIMATE COUNT(DISTINCT x) FROM (SELECT 1 AS x UNION ALL SELECT 1) s`, "1"},
		{`SELECT VERSION()`, "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), Redshift 1.0.0 (localaws)"},
		{`SELECT pg_last_copy_id(), current_database(), current_user, current_schema()`, "-1|dev|admin|public"},
		{`SELECT GETDATE() BETWEEN DATEADD(second, -5, SYSDATE) AND DATEADD(second, 5, SYSDATE)`, "true"},
		{`SELECT 'a_b' LIKE 'a\\_b', 'axb' LIKE 'a\\_b', 'AXB' ILIKE 'a_b', 'a%' LIKE '%\\%'`, "true|false|true|true"},
		{`SELECT JSON_EXTRACT_PATH_TEXT('{"a":{"b":"x"}}', 'a', 'b'), JSON_SERIALIZE(JSON_PARSE('[1]'))`, "x|[1]"},
		{`SELECT 1 INTO TEMP made; `, ""},
		{`SELECT 7/x, 7/(x+1), -7/ -x, 7%x, 8/x::int, 7/LEN('ab'), 8/x/2, 8/s.x*2 FROM (SELECT 2 AS x) s`, "3|2|3|1|4|3|2|8"},
		{`SELECT 8/SUM(x), 8/COUNT(*) OVER () FROM (SELECT 2 AS x) s GROUP BY x`, "4|8"},
		{`SHOW timezone`, "UTC"},
		{`WITH q AS (SELECT 1 AS a) SELECT "a" FROM Q`, "1"},
		{`SELECT INTERVAL '1 day' + TIMESTAMP '2024-01-01'`, "2024-01-02 00:00:00"},
		{`SELECT (((1))), -(-1), - -1, 1e3, .5, 2 ^ 3`, "1|1|1|1000|0.5|8"},
	}
	engines(t, func(t testing.TB, db *engine) {
		for _, tt := range tests {
			got, err := db.run(tt.sql, nil)
			if err != nil {
				t.Errorf("%v: %s: %v", db, tt.sql, err)
			} else if got != tt.want {
				t.Errorf("%v: %s\n got  %s\n want %s", db, tt.sql, got, tt.want)
			}
		}
	})
}

// TestScript runs the statements of a loader's life, each on the tables that
// the ones before it made.
func TestScript(t *testing.T) {
	steps := []struct{ sql, want, err string }{
		{sql: `CREATE TABLE IF NOT EXISTS public.fact_orders (
			order_id VARCHAR(5) NOT NULL ENCODE zstd DISTKEY, store_id INTEGER, total DECIMAL(10,2) DEFAULT 0,
			note TEXT, flag CHAR(2), at TIMESTAMP SORTKEY DEFAULT GETDATE(), PRIMARY KEY (order_id), UNIQUE (store_id))`},
		{sql: `CREATE TABLE ids (id BIGINT IDENTITY(1,1), v VARCHAR) DISTSTYLE ALL BACKUP NO`},
		{sql: `INSERT INTO ids (v) VALUES ('a'), ('b')`},
		{sql: `SELECT id, v FROM ids ORDER BY id`, want: "1|a;2|b"},
		{sql: `INSERT INTO fact_orders (order_id, store_id) VALUES ('a', 1), ('a', 1)`}, // keys are not enforced
		{sql: `SELECT COUNT(*) FROM dev.public.fact_orders f WHERE f.order_id = 'a'`, want: "2"},
		{sql: `INSERT INTO fact_orders (order_id) VALUES ('ééé')`, err: "value too long for type character varying(5)"},
		{sql: `INSERT INTO fact_orders (order_id) VALUES ('abcdef')`, err: "value too long for type character varying(5)"},
		{sql: `INSERT INTO fact_orders (order_id, flag) VALUES ('x', 'é€')`, err: "value too long for type character(2)"},
		{sql: `INSERT INTO fact_orders (order_id) VALUES ('éé   ')`},
		{sql: `INSERT INTO fact_orders (order_id) VALUES (NULL)`, err: "order_id"},
		{sql: `SELECT 1/0 FROM fact_orders`, err: "by zero"},
		{sql: `SELECT 1/(COUNT(*)-COUNT(*)) FROM fact_orders`, err: "by zero"},
		{sql: `CREATE TEMP TABLE staged (LIKE public.fact_orders)`},
		{sql: `CREATE TABLE #other AS SELECT order_id FROM fact_orders`},
		{sql: `DELETE FROM fact_orders USING #other o WHERE fact_orders.order_id = o.order_id`},
		{sql: `INSERT INTO staged (order_id, store_id, total) VALUES ('s', 3, 12.345)`},
		{sql: `INSERT INTO fact_orders SELECT * FROM staged`},
		{sql: `UPDATE fact_orders SET total = fact_orders.total + 1 FROM staged s WHERE s.order_id = fact_orders.order_id`},
		{sql: `MERGE INTO fact_orders USING staged ON fact_orders.order_id = staged.order_id
			WHEN MATCHED THEN UPDATE SET store_id = 4 WHEN NOT MATCHED THEN INSERT VALUES ('z', 1, 1, NULL, NULL, NULL)`},
		{sql: `SELECT order_id, store_id FROM fact_orders`, want: "s|4"},
		{sql: `SELECT order_id FROM fact_orders WHERE at > CURRENT_TIMESTAMP`, err: "not supported on Redshift tables"},
		{sql: `ALTER TABLE ids ADD COLUMN extra VARCHAR(10) DEFAULT 'x'`},
		{sql: `SELECT extra FROM ids WHERE id = 1`, want: "x"},
		{sql: `CREATE VIEW v1 AS SELECT v FROM public.ids WITH NO SCHEMA BINDING`},
		{sql: `SELECT v FROM v1 ORDER BY 1`, want: "a;b"},
		{sql: `DROP VIEW v1`},
		{sql: `TRUNCATE fact_orders`},
		{sql: `DROP TABLE IF EXISTS nothing, ids`},
		{sql: `DROP TABLE fact_orders CASCADE`},
	}
	engines(t, func(t testing.TB, db *engine) {
		for _, s := range steps {
			got, err := db.run(s.sql, nil)
			switch {
			case s.err != "":
				if err == nil || !strings.Contains(message(db, err), s.err) {
					t.Errorf("%v: %s: error %v, want %q", db, s.sql, err, s.err)
				}
			case err != nil:
				t.Errorf("%v: %s: %v", db, s.sql, err)
			case got != s.want:
				t.Errorf("%v: %s: got %s, want %s", db, s.sql, got, s.want)
			}
		}
	})
}
