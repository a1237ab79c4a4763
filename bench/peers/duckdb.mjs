// DuckDB, in process: one native table sorted by time, so that its zone maps skip by time; texts of few values as ENUM, as its
// documentation says for them; uid as a number; no indexes.
import fs from 'fs';

const COLUMNS = {
  event_id: 'UUID', t: 'BIGINT', event_name: 'VARCHAR', user_id: 'VARCHAR', device_id: 'VARCHAR', session_id: 'VARCHAR', platform: 'VARCHAR',
  app_version: 'VARCHAR', country: 'VARCHAR', city: 'VARCHAR', channel: 'VARCHAR', feature: 'VARCHAR', network: 'VARCHAR', referrer: 'VARCHAR',
  page: 'VARCHAR', error_code: 'VARCHAR', latency_ms: 'UINTEGER', amount: 'DECIMAL(12,2)',
};
const ENUMS = ['event_name', 'platform', 'app_version', 'country', 'city', 'channel', 'feature', 'network', 'error_code'];
const TEXT = value => (value === null ? null : typeof value === 'object' ? value.toString() : typeof value === 'bigint' ? String(value) : value);

export async function open(require, folder, memoryBytes) {
  const { DuckDBInstance } = require('@duckdb/node-api');
  fs.mkdirSync(folder, { recursive: true });
  const path = `${folder}/events.db`;
  const instance = await DuckDBInstance.create(path, { memory_limit: `${Math.floor(memoryBytes * 0.6 / 2 ** 20)}MiB`, temp_directory: `${folder}/tmp` });
  const connection = await instance.connect();
  let threads = 0;
  const rowsOf = async sql => (await connection.runAndReadAll(sql)).getRows();
  await connection.run("SET TimeZone='UTC'").catch(() => {}); // only for types that we do not use; the extension may be absent
  return {
    version: async () => String((await rowsOf('SELECT version()'))[0][0]).replace(/^v/, ''),
    async ask(sql, wanted, settings, timed) {
      if (wanted !== threads) await connection.run(`SET threads=${wanted}`);
      threads = wanted;
      const { ms, rows } = await timed(() => connection.runAndReadAll(sql));
      return { ms, rows: rows.getRows().map(row => row.map(TEXT)) };
    },
    async load({ file }) {
      const columns = Object.entries(COLUMNS).map(([name, type]) => `${name}:'${type}'`).join(',');
      await connection.run('DROP TABLE IF EXISTS ev');
      for (const name of ENUMS) await connection.run(`DROP TYPE IF EXISTS e_${name}`);
      await connection.run(`CREATE TABLE ev AS SELECT event_id, epoch_ms(t) event_time, * EXCLUDE (event_id, t), substr(user_id,3)::UINTEGER uid
 FROM read_csv('${file}', delim='\t', header=false, quote='', escape='', nullstr='\\N', auto_detect=false, columns={${columns}}) ORDER BY event_time`);
      await connection.run('CHECKPOINT');
      return Number((await rowsOf(`SELECT count(*) FROM ev`))[0][0]);
    },
    // The values of an ENUM are known only once all rows are here.
    async settle() {
      const cast = ENUMS.map(name => `${name}::e_${name} AS ${name}`).join(',');
      for (const name of ENUMS) await connection.run(`CREATE TYPE e_${name} AS ENUM (SELECT DISTINCT ${name} FROM ev ORDER BY 1)`);
      await connection.run(`CREATE TABLE coded AS SELECT * REPLACE (${cast}) FROM ev`);
      await connection.run('DROP TABLE ev');
      await connection.run('ALTER TABLE coded RENAME TO ev');
      await connection.run('CHECKPOINT');
    },
    async bytes() { // what is used: the file keeps the room of the table before
      const [[used, block]] = await rowsOf('SELECT used_blocks, block_size FROM pragma_database_size()');
      return Number(used) * Number(block);
    },
  };
}
