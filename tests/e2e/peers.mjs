// bench/peers without the peers: its questions are whole and our server takes them, and its comparison tells a wrong answer from a
// right one. Last line: N passed, N failed.
import assert from 'assert';
import fs from 'fs';
import os from 'os';
import path from 'path';
import { execFileSync } from 'child_process';
import { fileURLToPath } from 'url';

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
const { coarseRows, difference, linesOf, trackwayRows } = await import(`${ROOT}/bench/peers/answers.mjs`);
const { Trackway } = await import(`${ROOT}/bench/peers/engines.mjs`);
const { readQuestions } = await import(`${ROOT}/bench/peers/questions.mjs`);
const { tables } = await import(`${ROOT}/bench/peers/table.mjs`);
const BUILD = path.resolve(ROOT, process.env.BUILD || 'build');
const QUESTIONS = readQuestions(`${ROOT}/bench/peers/questions.sql`, '1');
let passed = 0, failed = 0;

async function claim(name, check) {
  try {
    await check();
    passed++;
  } catch (error) {
    failed++;
    console.log(`${name}: ${error.message}`);
  }
}

await claim('every question asks all three engines, and says what it touches', () => {
  assert.ok(QUESTIONS.length >= 16);
  for (const q of QUESTIONS) {
    assert.ok(q.trackway.length && q.answer.length && q.touches.rows.length + q.touches.sets.length, q.name);
    for (const engine of ['clickhouse', 'duckdb']) assert.ok(q.variants.some(v => v.engine === engine && v.sql && !v.check), `${q.name} ${engine}`);
  }
});

await claim('one value has one form, whoever wrote it', () => {
  assert.deepEqual(linesOf([['2024-06-01T05:00:00Z', '12.50', null]]), linesOf([['2024-06-01 05:00:00', 12.5, '\\N']]));
  assert.deepEqual(linesOf([['2024-06-01', 1105.3999999999996]]), linesOf([['2024-06-01', '1105.4']]));
  assert.notDeepEqual(linesOf([['u_1', 2]]), linesOf([['u_1', 3]]));
});

await claim('users that got so far become users that got just so far', () => {
  const rows = [['ios', 1, 'a', 10], ['ios', 2, 'b', 4], ['web', 1, 'a', 3], ['web', 2, 'b', 3]];
  assert.deepEqual(trackwayRows(['funnel', '1'], [rows]), [['ios', 1, 6], ['ios', 2, 4], ['web', 2, 3]]);
  assert.deepEqual(linesOf(coarseRows([['ios', 1, 6], ['ios', 2, 4], ['web', 2, 3]])), ['1\t6', '2\t7']);
});

await claim('retention: the size stands in period 0 where the peers count the start', () => {
  const rows = [['2024-06-01', 0, 10, 7], ['2024-06-01', 1, 10, 0], ['2024-06-01', 2, 10, 4]];
  assert.deepEqual(trackwayRows(['retention', 'size'], [rows]), [['2024-06-01', 0, 10], ['2024-06-01', 2, 4]]);
  assert.deepEqual(trackwayRows(['retention', 'users'], [rows])[0], ['2024-06-01', 0, 7]);
});

await claim('buckets without events are left out, and nothing else', () => {
  assert.deepEqual(trackwayRows(['table', '1'], [[['2024-06-01', 0, null], ['2024-06-02', 1, null]]]), [['2024-06-02', 1, null]]);
  assert.deepEqual(trackwayRows(['table', '0'], [[[0]]]), [[0]]);
});

await claim('a difference is found and shown', () => {
  assert.equal(difference(['a', 'b'], ['a', 'b']), '');
  assert.match(difference(['a', 'b'], ['a', 'c']), /line 2: "b" and "c"/);
  assert.match(difference(['a'], ['a', 'b']), /1 lines here, 2 there/);
});

await claim('the table says what is slower, unequal and unsupported', () => {
  const result = { name: 'Q1', times: { Trackway: 2, elapsed: 1, 'ClickHouse al': 4, DuckDB: 8 }, variants: {}, problems: [], compared: ['DuckDB'], bytesRead: 1e6 };
  const text = tables({
    config: { events: 1, users: 1, runs: 1, cores: 2 }, environment: { machine: 'm', revision: 'r' }, versions: {}, began: '2024-06-01T00:00:00Z',
    bandwidth: { all_threads_bytes_per_s: 1e9, one_thread_bytes_per_s: 1e9 }, questions: [{ name: 'Q1', about: 'a' }, { name: 'Q2', about: 'b' }], touched: { Q1: 1e6, Q2: 1 },
    hot: [result, { ...result, name: 'Q2', unsupported: 'no such word', times: { DuckDB: 8 }, problems: ['x'] }],
    loaded: { loads: [] }, trackwayLoad: { ms: 1, settleMs: 1, bytes: 1 }, inspect: { bytes: 1 },
  });
  assert.match(text, /\| Q1 \| a \| 2\.00 \| 1\.00 \| \*\*4\.00\*\* \|  \| 8\.00 \| 2\.00× \| yes \| 1\.00 \| 1\.00 \| 1\.00 \| 1\.00 \|/);
  assert.match(text, /\| Q2 \| b \| unsupported \|.*\*\*no\*\*/);
});

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'trackway-peers-'));
const server = await new Trackway(BUILD, `${folder}/data`).start();
try {
  execFileSync(`${BUILD}/bench/trackway-bench`, ['load', '--server', server.url, '--dataset', 'bench', '--events', '3000', '--users', '90', '--dups', '0'], { stdio: 'ignore' });
  for (const question of QUESTIONS) {
    await claim(`${question.name} is taken by the server`, async () => {
      const answer = await server.ask(question.trackway, Date.parse('2024-08-30T00:00:00Z'));
      assert.ok(!answer.failed, answer.failed);
      if (!answer.unsupported) trackwayRows(question.answer, answer.tables);
    });
  }
} finally {
  await server.stop();
  fs.rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
