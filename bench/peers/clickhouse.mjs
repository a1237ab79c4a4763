// ClickHouse, in process (chDB): two tables of the same rows.
//   al  sorted by (event_name, event_time)      what its documentation says for filters on a column of few values
//   bl  sorted by (uid, event_time)             what it says for questions about one user after the other
// Both: partitions by month, dictionaries for texts of few values, LZ4 on what questions read, ZSTD on the long ids, uid as a
// number. No projections, no materialised views: raw events, as the other two engines have them.

import os from 'os';

const COLUMNS = `event_id UUID CODEC(NONE), event_time DateTime64(3,'UTC') CODEC(Delta, LZ4), event_name LowCardinality(String) CODEC(LZ4),
 user_id String CODEC(ZSTD(1)), device_id String CODEC(ZSTD(1)), session_id String CODEC(ZSTD(1)),
 platform LowCardinality(String) CODEC(LZ4), app_version LowCardinality(String) CODEC(LZ4), country LowCardinality(String) CODEC(LZ4),
 city LowCardinality(String) CODEC(LZ4), channel LowCardinality(String) CODEC(LZ4), feature LowCardinality(String) CODEC(LZ4),
 network LowCardinality(String) CODEC(LZ4), referrer LowCardinality(String) CODEC(LZ4), page LowCardinality(String) CODEC(LZ4),
 error_code LowCardinality(String) CODEC(LZ4), latency_ms UInt32 CODEC(LZ4), amount Decimal(12,2) CODEC(LZ4), uid UInt32 CODEC(LZ4)`;
const ORDERS = { al: '(event_name, event_time)', bl: '(uid, event_time)' };

const LOW = 'LowCardinality(String)';
const TOP = `event_name ${LOW}, user_id String, device_id String, session_id String, platform ${LOW}, app_version ${LOW}, country ${LOW},
 city ${LOW}, channel ${LOW}`;
const TSV = `event_id UUID, t Int64, ${TOP}, feature ${LOW}, network ${LOW}, referrer ${LOW}, page ${LOW}, error_code ${LOW},
 latency_ms UInt32, amount Decimal(12,2)`;
const JSON_LINES = `event_id UUID, event_time Int64, ${TOP}, network ${LOW},
 properties Tuple(page String, referrer String, feature String, error_code String, latency_ms UInt32, amount Decimal(12,2))`;
const SOURCES = {
  tsv: { format: 'TSV', columns: TSV, time: 't', p: '' },
  ndjson: { format: 'JSONEachRow', columns: JSON_LINES, time: 'event_time', p: 'properties.' },
};

function insertOf({ format, file, layout }) {
  const { format: reader, columns, time, p } = SOURCES[format];
  return `INSERT INTO ${layout} SELECT event_id, fromUnixTimestamp64Milli(${time},'UTC'), event_name, user_id, device_id, session_id, platform,
 app_version, country, city, channel, ${p}feature, network, ${p}referrer, ${p}page, ${p}error_code, ${p}latency_ms, ${p}amount,
 toUInt32(substring(user_id,3)) FROM file('${file}','${reader}','${columns}') SETTINGS max_insert_threads=${os.availableParallelism()},
 max_partitions_per_insert_block=1000`;
}

export async function open(require, folder) {
  const { Session } = require('chdb');
  const session = new Session(folder);
  const rowsOf = sql => session.query(sql, 'TSV').split('\n').filter(Boolean).map(line => line.split('\t'));
  return {
    version: async () => rowsOf('SELECT version()')[0][0],
    // Its query condition cache would let a repeated question skip work: off, as our result cache is.
    async ask(sql, threads, settings, timed) {
      const all = `${sql} SETTINGS max_threads=${threads}, use_query_condition_cache=0, max_execution_time=300${settings ? ', ' + settings : ''}`;
      const { ms, rows } = await timed(() => session.query(all, 'TSV'));
      return { ms, rows: rows.split('\n').filter((line, i, lines) => i + 1 < lines.length).map(line => line.split('\t')) };
    },
    async load(source) {
      session.query(`DROP TABLE IF EXISTS ${source.layout} SYNC`);
      session.query(`CREATE TABLE ${source.layout} (${COLUMNS}) ENGINE=MergeTree PARTITION BY toYYYYMM(event_time) ORDER BY ${ORDERS[source.layout]}`);
      session.query(insertOf(source));
      return Number(rowsOf(`SELECT count() FROM ${source.layout}`)[0][0]);
    },
    settle: async ({ layout }) => session.query(`OPTIMIZE TABLE ${layout} FINAL`),
    bytes: async ({ layout }) => Number(rowsOf(`SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table='${layout}'`)[0][0]),
  };
}
