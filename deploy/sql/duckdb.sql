-- Samples as plain rows, for DuckDB. First define `metrics`, for instance
--   CREATE VIEW metrics AS SELECT * FROM delta_scan('data/tables/anonymous/metrics');
-- or, where the delta extension is missing, from the files that the log lists (never from a glob):
--   CREATE VIEW metrics AS SELECT * FROM read_parquet([...], hive_partitioning = true, union_by_name = true);
-- Columns and rules: docs/format/metrics-table.md.

CREATE OR REPLACE VIEW metrics_samples AS
SELECT day, metric, labels, l_job, l_instance, l_namespace, l_service, ts,
       coalesce((values_base + i) * values_mul / values_div, d) AS value
FROM (
    SELECT s.day, s.metric, s.labels, s.l_job, s.l_instance, s.l_namespace, s.l_service,
           s.values_base, s.values_mul, s.values_div,
           unnest(coalesce(s.timestamps, t.timestamps)) AS ts,
           unnest(s.values_int) AS i,
           unnest(s.values_double) AS d
    FROM metrics s
    LEFT JOIN metrics t
      ON t.row_kind = 'timestamps' AND t.day = s.day AND t.block = s.block AND t.ts_ref = s.ts_ref
    WHERE s.row_kind = 'series' AND s.h_part IS NULL
)
WHERE i IS NOT NULL OR d IS NOT NULL;

-- One row per part of a histogram and timestamp: count, sum, zero bucket, each negative and positive bucket.
CREATE OR REPLACE VIEW metrics_histograms AS
SELECT day, metric, labels, l_job, l_instance, l_namespace, l_service, block, h_form, h_part, h_float, h_schema,
       h_zero_threshold, h_bucket, h_lower, h_upper, ts,
       coalesce((values_base + i) * values_mul / values_div, d) AS value
FROM (
    SELECT s.day, s.metric, s.labels, s.l_job, s.l_instance, s.l_namespace, s.l_service, s.block,
           s.h_form, s.h_part, s.h_float, s.h_schema, s.h_zero_threshold, s.h_bucket, s.h_lower, s.h_upper,
           s.values_base, s.values_mul, s.values_div,
           unnest(coalesce(s.timestamps, t.timestamps)) AS ts,
           unnest(s.values_int) AS i,
           unnest(s.values_double) AS d
    FROM metrics s
    LEFT JOIN metrics t
      ON t.row_kind = 'timestamps' AND t.day = s.day AND t.block = s.block AND t.ts_ref = s.ts_ref
    WHERE s.row_kind = 'series' AND s.h_part IS NOT NULL
)
WHERE i IS NOT NULL OR d IS NOT NULL;

-- metrics_samples from a to b, milliseconds since the Unix epoch, both included. A condition on ts alone prunes no
-- file, row group or row, because ts is made by unnesting; this also restricts day, min_time and max_time.
CREATE OR REPLACE MACRO metrics_between(a, b) AS TABLE
SELECT day, metric, labels, l_job, l_instance, l_namespace, l_service, ts,
       coalesce((values_base + i) * values_mul / values_div, d) AS value
FROM (
    SELECT s.day, s.metric, s.labels, s.l_job, s.l_instance, s.l_namespace, s.l_service,
           s.values_base, s.values_mul, s.values_div,
           unnest(coalesce(s.timestamps, t.timestamps)) AS ts,
           unnest(s.values_int) AS i,
           unnest(s.values_double) AS d
    FROM metrics s
    LEFT JOIN metrics t
      ON t.row_kind = 'timestamps' AND t.day = s.day AND t.block = s.block AND t.ts_ref = s.ts_ref
     AND t.max_time >= a AND t.min_time <= b
     AND t.day BETWEEN CAST(epoch_ms(CAST(a AS BIGINT)) AS DATE) AND CAST(epoch_ms(CAST(b AS BIGINT)) AS DATE)
    WHERE s.row_kind = 'series' AND s.h_part IS NULL
      AND s.max_time >= a AND s.min_time <= b
      AND s.day BETWEEN CAST(epoch_ms(CAST(a AS BIGINT)) AS DATE) AND CAST(epoch_ms(CAST(b AS BIGINT)) AS DATE)
)
WHERE (i IS NOT NULL OR d IS NOT NULL) AND ts BETWEEN a AND b;
