// One engine in a process of its own: node host.mjs clickhouse|duckdb FOLDER MODULES, spoken to over Node's messages.
//   {op: 'ask', sql, threads, settings}          -> {ms, rows}: time inside the engine, until the answer is in memory
//   {op: 'load', format, file, layout, table}    -> {ms, rows}
//   {op: 'settle'} -> {ms}: merge all parts, write all out         {op: 'version'}   {op: 'bytes', table}
import { createRequire } from 'module';
import { nowMs, memoryBytes } from './process.mjs';
import * as clickhouse from './clickhouse.mjs';
import * as duckdb from './duckdb.mjs';

const [name, folder, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/any.js`);
const engine = await (name === 'clickhouse' ? clickhouse : duckdb).open(require, folder, memoryBytes());

async function timed(work) {
  const began = nowMs();
  const rows = await work();
  return { ms: nowMs() - began, rows };
}

const OPS = {
  ask: ({ sql, threads, settings }) => engine.ask(sql, threads, settings, timed),
  load: message => timed(() => engine.load(message)),
  settle: message => timed(async () => { await engine.settle(message); }),
  version: async () => ({ version: await engine.version() }),
  bytes: async message => ({ bytes: await engine.bytes(message) }),
};

process.on('message', async message => {
  try {
    process.send({ id: message.id, ...await OPS[message.op](message) });
  } catch (error) {
    process.send({ id: message.id, error: String(error.message || error).slice(0, 600) });
  }
});
process.on('disconnect', () => process.exit(0));
process.send({ id: 0 });
