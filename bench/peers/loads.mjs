// Loading: the data of the comparison, once, and how fast each engine takes a smaller file, in turn.
import fs from 'fs';
import { execFile } from 'child_process';
import { promisify } from 'util';
import { Peer, Trackway } from './engines.mjs';
import { filesBelow, median, nowMs } from './process.mjs';

const run = promisify(execFile);
const shell = (script, words, env = {}) => run('bash', ['-c', `set -euo pipefail; ${script}`, 'bash', ...words], { env: { ...process.env, ...env } });

export const folderBytes = folder => filesBelow(folder).reduce((sum, file) => sum + file.bytes, 0);

const generator = config => [`${config.build}/bench/trackway-bench`, 'generate', '--users', config.users, '--days', '90', '--seed', '1', '--dups', '0'].map(String);

async function generate(config, events, format, path) {
  await shell('out=$1; shift; "$@" >"$out.part"; mv "$out.part" "$out"', [path, ...generator(config), '--events', String(events), '--format', format]);
}

// Peers keep what they loaded as long as `stamp` (events, versions, how they load) is the same.
export async function loadPeers(config, peers, say) {
  const tsv = `${config.data}/events.tsv`, marks = `${config.data}/loaded.json`;
  const loaded = fs.existsSync(marks) ? JSON.parse(fs.readFileSync(marks, 'utf8')) : {};
  if (loaded.stamp === config.stamp) return loaded;
  fs.rmSync(marks, { force: true });
  say(`events as TSV, ${config.events} without repeats`);
  await generate(config, config.events, 'tsv', tsv);
  const result = { stamp: config.stamp, loads: [] };
  for (const [peer, layout] of [[peers.clickhouse, 'al'], [peers.clickhouse, 'bl'], [peers.duckdb, 'time']]) {
    const { ms, rows } = await peer.call('load', { format: 'tsv', file: tsv, layout });
    const settled = await peer.call('settle', { layout });
    const { bytes } = await peer.call('bytes', { layout });
    result.loads.push({ engine: peer.engine, layout, ms, rows, settleMs: settled.ms, bytes });
    say(`${peer.engine} ${layout}: ${rows} rows in ${(ms / 1000).toFixed(1)} s, merged in ${(settled.ms / 1000).toFixed(1)} s`);
  }
  fs.rmSync(tsv);
  fs.writeFileSync(marks, JSON.stringify(result));
  return result;
}

export async function loadTrackway(config, server) {
  const began = nowMs();
  await shell('client=$1; shift; "$@" | "$client" ingest --dataset bench -',
    [`${config.build}/client/trackway`, ...generator(config), '--events', String(config.events), '--format', 'ndjson'], { TRACKWAY_SERVER: server.url });
  const ms = nowMs() - began;
  await server.client('compact', '--dataset', 'bench', '--wait');
  return { ms, settleMs: nowMs() - began - ms };
}

// ---- the same rows into each, from a file in the page cache ----

// `began`: usage before; what a load cost until it was acknowledged, and until all was merged
async function measured(engine, load, settle, bytes) {
  const before = engine.usage(), at = nowMs();
  await load();
  const ms = nowMs() - at, after = engine.usage();
  await settle();
  return { ms, cpuMs: after.cpuMs - before.cpuMs, settledCpuMs: engine.usage().cpuMs - before.cpuMs, peakBytes: engine.usage().peakBytes, bytes: await bytes() };
}

async function trackwayOnce(config, folder, load) {
  const server = await new Trackway(config.build, folder).start();
  try {
    return await measured(server, () => load(server), () => server.client('compact', '--dataset', 'bench', '--wait'), () => folderBytes(`${folder}/bench`));
  } finally {
    await server.stop();
  }
}

async function peerOnce(config, folder, engine, layout, format, file) {
  const peer = await new Peer(engine, folder, config.modules).start();
  try {
    const source = { format, file, layout };
    return await measured(peer, () => peer.call('load', source), () => peer.call('settle', source), async () => (await peer.call('bytes', source)).bytes);
  } finally {
    await peer.stop();
  }
}

function waysOf(config, files) {
  const folder = `${config.data}/load`;
  return [
    ['Trackway, NDJSON over HTTP, durable', () => trackwayOnce(config, `${folder}/trackway`, server => server.client('ingest', '--dataset', 'bench', files.ndjson))],
    ['Trackway, protobuf over HTTP, durable', () => trackwayOnce(config, `${folder}/trackway`, server => run(`${config.build}/bench/trackway-bench`,
      ['load', '--server', server.url, '--dataset', 'bench', '--ingest', files.proto, '--format', 'proto']))],
    ['ClickHouse bl, JSONEachRow from a file', () => peerOnce(config, `${folder}/clickhouse`, 'clickhouse', 'bl', 'ndjson', files.ndjson)],
    ['ClickHouse bl, TSV from a file', () => peerOnce(config, `${folder}/clickhouse`, 'clickhouse', 'bl', 'tsv', files.tsv)],
    ['DuckDB, TSV from a file', () => peerOnce(config, `${folder}/duckdb`, 'duckdb', 'time', 'tsv', files.tsv)],
  ];
}

export async function compareLoads(config, say) {
  const files = {};
  fs.mkdirSync(`${config.data}/load`, { recursive: true });
  for (const format of ['ndjson', 'proto', 'tsv']) {
    files[format] = `${config.data}/load/events.${format}`;
    await generate(config, config.loadEvents, format, files[format]);
  }
  const ways = waysOf(config, files), samples = ways.map(() => []);
  for (let i = 0; i < config.loadRuns; i++) {
    for (const [at, [name, once]] of ways.entries()) {
      for (const kind of ['trackway', 'clickhouse', 'duckdb']) fs.rmSync(`${config.data}/load/${kind}`, { recursive: true, force: true });
      samples[at].push(await once());
      say(`${name}: ${(samples[at].at(-1).ms / 1000).toFixed(1)} s`);
    }
  }
  fs.rmSync(`${config.data}/load`, { recursive: true, force: true });
  const middle = (list, key) => median(list.map(sample => sample[key]));
  return ways.map(([name], at) => ({
    name, rows: config.loadEvents, ms: middle(samples[at], 'ms'), cpuMs: middle(samples[at], 'cpuMs'), settledCpuMs: middle(samples[at], 'settledCpuMs'),
    peakBytes: middle(samples[at], 'peakBytes'), bytes: middle(samples[at], 'bytes'),
  }));
}
