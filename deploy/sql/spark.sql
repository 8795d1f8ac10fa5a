-- Samples as plain rows, for Spark. First define `metrics`, for instance
--   CREATE TEMPORARY VIEW metrics AS SELECT * FROM delta.`data/tables/anonymous/metrics`;
-- Columns and rules: docs/format/metrics-table.md. A condition on ts alone prunes nothing: add conditions on day,
-- and where it matters on min_time and max_time in a query of your own shaped like these.

CREATE OR REPLACE TEMPORARY VIEW metrics_samples AS
SELECT day, metric, labels, l_job, l_instance, l_namespace, l_service, z.ts AS ts,
       coalesce((values_base + z.i) * values_mul / values_div, z.d) AS value
FROM (
    SELECT s.day, s.metric, s.labels, s.l_job, s.l_instance, s.l_namespace, s.l_service,
           s.values_base, s.values_mul, s.values_div,
           explode(CAST(arrays_zip(
               coalesce(s.timestamps, t.timestamps),
               coalesce(s.values_int, CAST(array() AS array<bigint>)),
               coalesce(s.values_double, CAST(array() AS array<double>)))
               AS array<struct<ts: bigint, i: bigint, d: double>>)) AS z
    FROM metrics s
    LEFT JOIN (SELECT day, block, ts_ref, timestamps FROM metrics WHERE row_kind = 'timestamps') t
      ON t.day = s.day AND t.block = s.block AND t.ts_ref = s.ts_ref
    WHERE s.row_kind = 'series' AND s.h_part IS NULL
)
WHERE z.i IS NOT NULL OR z.d IS NOT NULL;

CREATE OR REPLACE TEMPORARY VIEW metrics_histograms AS
SELECT day, metric, labels, l_job, l_instance, l_namespace, l_service, block, h_form, h_part, h_float, h_schema,
       h_zero_threshold, h_bucket, h_lower, h_upper, z.ts AS ts,
       coalesce((values_base + z.i) * values_mul / values_div, z.d) AS value
FROM (
    SELECT s.day, s.metric, s.labels, s.l_job, s.l_instance, s.l_namespace, s.l_service, s.block,
           s.h_form, s.h_part, s.h_float, s.h_schema, s.h_zero_threshold, s.h_bucket, s.h_lower, s.h_upper,
           s.values_base, s.values_mul, s.values_div,
           explode(CAST(arrays_zip(
               coalesce(s.timestamps, t.timestamps),
               coalesce(s.values_int, CAST(array() AS array<bigint>)),
               coalesce(s.values_double, CAST(array() AS array<double>)))
               AS array<struct<ts: bigint, i: bigint, d: double>>)) AS z
    FROM metrics s
    LEFT JOIN (SELECT day, block, ts_ref, timestamps FROM metrics WHERE row_kind = 'timestamps') t
      ON t.day = s.day AND t.block = s.block AND t.ts_ref = s.ts_ref
    WHERE s.row_kind = 'series' AND s.h_part IS NOT NULL
)
WHERE z.i IS NOT NULL OR z.d IS NOT NULL;
