// The comparison: bench/peers/run starts it. Loads three engines with the same rows, asks all of them the questions of
// questions.sql in turn, compares the answers, and writes results.json and table.md.
import fs from 'fs';
import os from 'os';
import crypto from 'crypto';
import { execFileSync } from 'child_process';
import { coarseRows, difference, linesOf, trackwayRows } from './answers.mjs';
import { Peer, Trackway, dropPages } from './engines.mjs';
import { compareLoads, folderBytes, loadPeers, loadTrackway } from './loads.mjs';
import { loadAverage, median, memoryBytes, resetPeak } from './process.mjs';
import { readQuestions } from './questions.mjs';
import { tables } from './table.mjs';

const HERE = new URL('.', import.meta.url).pathname;
const NOW = Date.parse('2024-08-30T00:00:00Z'); // the end of the data: what "last 7d" counts from
const SLOW_MS = 10000;                          // an answer that takes longer is timed once
const HOPELESS = 3;                             // a variant so many times slower than another of its engine is not timed again

const env = (name, otherwise) => Number(process.env[name] || otherwise);
const cores = os.availableParallelism();
const config = {
  build: process.env.BUILD, modules: process.env.PEERS,
  events: env('EVENTS', 10000000), runs: env('RUNS', 5), coldRuns: env('COLD_RUNS', 3), loadRuns: env('LOAD_RUNS', 3),
  phases: (process.env.PHASES || 'load hot one cold').split(' '),
  only: (process.env.QUESTIONS || '').split(',').filter(Boolean),
};
config.users = env('EVENT_USERS', Math.max(1, Math.floor(config.events / 33)));
config.loadEvents = env('LOAD_EVENTS', Math.min(config.events, 1000000));
config.data = `${config.modules}/data-${config.events}-${config.users}`;
config.stamp = crypto.createHash('sha256').update(JSON.stringify([config.events, config.users]))
  .update(['package-lock.json', 'clickhouse.mjs', 'duckdb.mjs'].map(file => fs.readFileSync(HERE + file, 'utf8')).join('')).digest('hex');

const say = text => console.log(`  ${text}`);
const heading = text => console.log(`\n${text} (load ${loadAverage().toFixed(1)})`);

// ---- engines ----

const serverOptions = threads => ['--query-threads', String(threads), '--query-timeout-ms', '300000',
  '--block-cache-bytes', String(Math.floor(memoryBytes() / 3)), '--query-memory-max', String(Math.floor(memoryBytes() / 4))];
const trackwayOf = threads => new Trackway(config.build, `${config.data}/trackway`, serverOptions(threads));
const peerOf = engine => new Peer(engine, `${config.data}/${engine}`, config.modules);

// What can be asked of whom: one entry for each engine, layout and variant.
function entriesOf(question) {
  return question.variants.flatMap(variant => (variant.engine === 'duckdb' ? ['time'] : ['al', 'bl'])
    .filter(layout => !variant.only || variant.only === layout)
    .map(layout => ({
      column: variant.engine === 'duckdb' ? 'DuckDB' : `ClickHouse ${layout}`, ...variant,
      sql: variant.sql.replaceAll('{T}', variant.engine === 'duckdb' ? 'ev' : layout),
    })));
}

const askPeer = (peers, entry, threads) => peers[entry.engine].call('ask', { sql: entry.sql, threads, settings: entry.settings });

// ---- equality ----

// Does this answer say what ours says? Where ours is not there yet, peers are compared among themselves.
function judge(entry, rows, ours, verdict) {
  if (entry.loose) return;
  const mine = entry.coarse ? linesOf(coarseRows(rows)) : linesOf(rows);
  const base = ours ?? (entry.coarse ? null : verdict.peerRows);
  if (!ours && !entry.coarse) verdict.peerRows ??= rows;
  if (!base) return;
  const found = difference(entry.coarse ? linesOf(coarseRows(base)) : linesOf(base), mine);
  verdict.compared.push(entry.column);
  if (found) verdict.problems.push(`${ours ? 'Trackway' : 'the first peer'} and ${entry.column}${entry.label ? ` (${entry.label})` : ''}: ${found}`);
}

// ---- hot ----

// Asks once: warms, compares, and leaves out variants that are far behind another of the same column.
async function firstRound(question, server, peers, threads) {
  const result = { name: question.name, times: {}, variants: {}, problems: [], compared: [] };
  const { unsupported, failed, tables: ours } = await server.ask(question.trackway, NOW);
  Object.assign(result, { unsupported, failed }, failed ? { problems: [failed] } : {});
  const rows = ours ? trackwayRows(question.answer, ours) : null;
  const least = {}, timed = [];
  for (const entry of entriesOf(question)) {
    const answer = await askPeer(peers, entry, threads).catch(error => ({ error }));
    if (answer.error) { // a peer that is out of memory or time: the others go on
      result.problems.push(`${entry.column}: ${answer.error.message}`);
      continue;
    }
    judge(entry, answer.rows, rows, result);
    if (entry.check) continue;
    least[entry.column] = Math.min(least[entry.column] ?? Infinity, answer.ms);
    timed.push({ entry, first: answer.ms });
  }
  delete result.peerRows;
  result.entries = timed.filter(t => t.first <= HOPELESS * least[t.entry.column] || t.first < 20)
    .map(t => ({ ...t, runs: t.first > SLOW_MS ? 1 : config.runs }));
  return result;
}

async function hotQuestion(question, server, peers, threads) {
  const result = await firstRound(question, server, peers, threads);
  const ours = { ms: [], elapsed: [] }, theirs = result.entries.map(() => []);
  for (let run = 0; run < config.runs; run++) {
    if (!result.unsupported && !result.failed) {
      const answer = await server.ask(question.trackway, NOW);
      ours.ms.push(answer.ms);
      ours.elapsed.push(answer.elapsedMs);
      Object.assign(result, { bytesRead: answer.bytesRead, rowsRead: answer.rowsRead });
    }
    for (const [i, { entry, runs }] of result.entries.entries()) {
      if (run < runs) theirs[i].push((await askPeer(peers, entry, threads)).ms);
    }
  }
  if (ours.ms.length) Object.assign(result.times, { Trackway: median(ours.ms) }, { elapsed: median(ours.elapsed) });
  for (const [i, { entry }] of result.entries.entries()) {
    const ms = median(theirs[i]);
    if (!(result.times[entry.column] <= ms)) {
      result.times[entry.column] = ms;
      result.variants[entry.column] = entry.label;
    }
  }
  delete result.entries;
  return result;
}

async function hotPhase(questions, peers, threads) {
  const server = await trackwayOf(threads).start();
  const results = [];
  try {
    for (const question of questions) {
      const result = await hotQuestion(question, server, peers, threads);
      results.push(result);
      say(`${question.name.padEnd(4)} ${Object.entries(result.times).filter(([k]) => k !== 'elapsed').map(([k, ms]) => `${k} ${ms.toFixed(2)}`).join('  ')}` +
        `${result.unsupported ? '  Trackway: unsupported' : ''}${result.failed ? '  Trackway: failed' : ''}${result.problems.length ? `  PROBLEM: ${result.problems[0]}` : ''}`);
    }
  } finally {
    await server.stop();
  }
  return results;
}

// ---- cold: a new process, its data dropped from the kernel's cache, one question ----

async function coldOnce(engine, folder, ask) {
  await engine.start();
  try {
    await dropPages(folder);
    const before = engine.usage().deviceBytes;
    const { ms } = await ask(engine);
    return { ms, deviceBytes: before === null ? null : engine.usage().deviceBytes - before };
  } finally {
    await engine.stop();
  }
}

function coldEntries(question, hot) {
  const best = hot?.find(result => result.name === question.name)?.variants;
  const entries = entriesOf(question).filter(entry => !entry.check && (!best || best[entry.column] === entry.label));
  return entries.filter((entry, i) => entries.findIndex(e => e.column === entry.column) === i);
}

async function coldQuestion(question, hot) {
  const samples = {}, add = (column, sample) => (samples[column] ??= []).push(sample);
  const known = hot?.find(result => result.name === question.name), ours = !known?.unsupported && !known?.failed;
  for (let run = 0; run < config.coldRuns; run++) {
    if (ours) add('Trackway', await coldOnce(trackwayOf(cores), `${config.data}/trackway`, server => server.ask(question.trackway, NOW)));
    for (const entry of coldEntries(question, hot)) {
      const folder = `${config.data}/${entry.engine}`;
      add(entry.column, await coldOnce(peerOf(entry.engine), folder, async peer => {
        await peer.call('version');
        return peer.call('ask', { sql: entry.sql, threads: cores, settings: entry.settings });
      }));
    }
  }
  const result = { name: question.name, times: {}, deviceBytes: {} };
  for (const [column, list] of Object.entries(samples)) {
    if (list.some(sample => sample.ms === undefined)) continue; // ours: no answer
    result.times[column] = median(list.map(sample => sample.ms));
    result.deviceBytes[column] = median(list.map(sample => sample.deviceBytes));
  }
  return result;
}

// ---- the limit: the least bytes, at the speed of memory ----

async function touchedBytes(questions, peers, columns) {
  const perValue = Object.fromEntries(columns.map(c => [c.name, c.values ? c.bytes / c.values : 0]));
  const server = await trackwayOf(cores).start(), touched = {};
  try {
    for (const { name, touches: { rows, sets } } of questions) {
      touched[name] = 0;
      for (const { columns: wanted, predicate } of rows) {
        const counted = await peers.duckdb.call('ask', { sql: `SELECT count(*) FROM ev WHERE ${predicate}`, threads: cores });
        touched[name] += Number(counted.rows[0][0]) * wanted.reduce((sum, column) => sum + perValue[column], 0);
      }
      for (const query of sets) touched[name] += (await server.ask([query], NOW)).bytesRead;
    }
  } finally {
    await server.stop();
  }
  return touched;
}

// ---- the whole ----

const tool = (name, ...words) => execFileSync(`${config.build}/${name}`, words, { encoding: 'utf8', maxBuffer: 1 << 28 });

async function mostActiveUser(peers) {
  const { rows } = await peers.duckdb.call('ask', { sql: 'SELECT uid FROM ev GROUP BY uid ORDER BY count(*) DESC, uid LIMIT 1', threads: cores });
  return String(rows[0][0]);
}

async function load(results, peers) {
  heading('load the peers');
  results.loaded = await loadPeers(config, peers, say);
  heading('load Trackway');
  fs.rmSync(`${config.data}/trackway`, { recursive: true, force: true });
  const server = await trackwayOf(cores).start();
  try {
    results.trackwayLoad = await loadTrackway(config, server);
    results.trackwayLoad.bytes = folderBytes(`${config.data}/trackway/bench`);
    say(`${config.events} events in ${(results.trackwayLoad.ms / 1000).toFixed(1)} s, merged in ${(results.trackwayLoad.settleMs / 1000).toFixed(1)} s`);
  } finally {
    await server.stop();
  }
}

async function main() {
  const results = { config: { ...config, cores }, began: new Date().toISOString(), environment: JSON.parse(process.env.ENVIRONMENT) };
  results.bandwidth = JSON.parse(tool('bench/bandwidth'));
  const peers = { clickhouse: await peerOf('clickhouse').start(), duckdb: await peerOf('duckdb').start() };
  try {
    await load(results, peers);
    results.versions = { clickhouse: (await peers.clickhouse.call('version')).version, duckdb: (await peers.duckdb.call('version')).version };
    const questions = readQuestions(`${HERE}questions.sql`, await mostActiveUser(peers)).filter(q => !config.only.length || config.only.includes(q.name));
    results.questions = questions.map(({ name, about, trackway, note }) => ({ name, about, trackway, note }));
    results.inspect = JSON.parse(tool('client/trackway', 'inspect', `${config.data}/trackway/bench`, '--json'));
    results.touched = await touchedBytes(questions, peers, results.inspect.columns);
    delete results.inspect.segments;
    for (const peer of Object.values(peers)) resetPeak(peer.child.pid);
    if (config.phases.includes('hot')) {
      heading(`hot, ${cores} threads, medians of ${config.runs}, ms`);
      results.hot = await hotPhase(questions, peers, cores);
    }
    if (config.phases.includes('one')) {
      heading(`hot, one thread, medians of ${config.runs}, ms`);
      results.one = await hotPhase(questions, peers, 1);
    }
    results.peakBytes = { clickhouse: peers.clickhouse.usage().peakBytes, duckdb: peers.duckdb.usage().peakBytes };
    for (const peer of Object.values(peers)) await peer.stop();
    if (config.phases.includes('cold')) {
      heading(`cold, ${cores} threads, medians of ${config.coldRuns}, ms`);
      results.cold = [];
      for (const question of questions) {
        results.cold.push(await coldQuestion(question, results.hot));
        say(`${question.name.padEnd(4)} ${Object.entries(results.cold.at(-1).times).map(([k, ms]) => `${k} ${ms.toFixed(1)}`).join('  ')}`);
      }
    }
    if (config.phases.includes('load')) {
      heading(`loading ${config.loadEvents} events, medians of ${config.loadRuns}`);
      results.loads = await compareLoads(config, say);
    }
  } finally {
    for (const peer of Object.values(peers)) await peer.stop();
  }
  fs.writeFileSync(`${config.modules}/results.json`, JSON.stringify(results, null, 1));
  const text = tables(results);
  fs.writeFileSync(`${config.modules}/table.md`, text);
  console.log(`\n${text}\nwritten to ${config.modules}/table.md`);
  const problems = [...(results.hot ?? []), ...(results.one ?? [])].flatMap(result => result.problems.map(p => `${result.name}: ${p}`));
  for (const problem of problems) console.error(`problem: ${problem}`);
  process.exitCode = problems.length ? 1 : 0;
}

try {
  await main();
} catch (error) {
  console.error(`bench-peers: ${error.message}`);
  process.exitCode = 2;
}
