// results.json -> markdown, as bench/RESULTS.md has it: node table.mjs results.json
import fs from 'fs';

const PEERS = ['ClickHouse al', 'ClickHouse bl', 'DuckDB'];
const MB = 1e6;

const number = x => (x === undefined || x === null || Number.isNaN(x) ? '' : x >= 100 ? Math.round(x).toLocaleString('en-US') : x >= 10 ? x.toFixed(1) : x >= 0.1 ? x.toFixed(2) : x.toFixed(3));
const rowOf = cells => `| ${cells.join(' | ')} |`;
const table = (heads, rows, leftColumns = 2) =>
  [rowOf(heads), `|${heads.map((_, i) => (i < leftColumns ? '---' : '---:')).join('|')}|`, ...rows.map(rowOf)].join('\n');

function bestOf(times) {
  const there = PEERS.filter(column => times[column] !== undefined);
  return there.reduce((best, column) => (best === null || times[column] < times[best] ? column : best), null);
}

const ratio = times => {
  const best = bestOf(times);
  return best === null || times.Trackway === undefined ? '' : `${number(times[best] / times.Trackway)}×`;
};

function equalWord(result) {
  if (result.problems.length) return '**no**';
  if (!result.compared.length) return 'not compared';
  return result.unsupported ? 'peers: yes' : 'yes';
}

// Hot, all threads: the main table.
function hotTable({ hot, questions, touched, bandwidth }) {
  const about = Object.fromEntries(questions.map(q => [q.name, q.about]));
  return table(
    ['', 'question', 'Trackway ms', '(inside)', ...PEERS, 'best peer / Trackway', 'equal', 'MB read', 'MB must', 'limit ms', '× limit'],
    hot.map(result => {
      const bytes = touched[result.name];
      const limit = bytes === undefined ? undefined : bytes / bandwidth.all_threads_bytes_per_s * 1000;
      const peers = PEERS.map(column => {
        const text = number(result.times[column]);
        return column === bestOf(result.times) ? `**${text}**` : text;
      });
      return [result.name, about[result.name], result.unsupported ? 'unsupported' : result.failed ? 'failed' : number(result.times.Trackway), number(result.times.elapsed), ...peers,
        ratio(result.times), equalWord(result), number(result.bytesRead / MB), number(bytes / MB), number(limit), number(result.times.elapsed / limit)];
    }));
}

// One thread and cold: times and ratios alone.
const shortTable = results => table(['', 'Trackway ms', ...PEERS, 'best peer / Trackway'],
  results.map(r => [r.name, number(r.times.Trackway), ...PEERS.map(column => number(r.times[column])), ratio(r.times)]), 1);

const coldTable = results => table(['', 'Trackway ms', ...PEERS, 'best peer / Trackway', 'MB from the device: Trackway', ...PEERS],
  results.map(r => [r.name, number(r.times.Trackway), ...PEERS.map(c => number(r.times[c])), ratio(r.times),
    ...['Trackway', ...PEERS].map(c => number(r.deviceBytes[c] / MB))]), 1);

const loadTable = loads => table(['way in', 'rows/s', 'rows/s and core, until taken', 'and until merged', 'bytes a row', 'peak memory MB'],
  loads.map(l => [l.name, number(l.rows / l.ms * 1000), number(l.rows / l.cpuMs * 1000), number(l.rows / l.settledCpuMs * 1000), number(l.bytes / l.rows),
    number(l.peakBytes / MB)]), 1);

function sizeTable({ loaded, trackwayLoad, config, inspect }) {
  const rows = loaded.loads.map(l => [`${l.engine === 'duckdb' ? 'DuckDB' : `ClickHouse ${l.layout}`}, TSV from a file`, number(l.rows / l.ms * 1000), number(l.settleMs / 1000),
    number(l.bytes / l.rows)]);
  const t = trackwayLoad;
  rows.unshift([`Trackway, NDJSON over HTTP from the generator beside it (segments alone: ${number(inspect.bytes / config.events)} bytes)`,
    number(config.events / t.ms * 1000), number(t.settleMs / 1000), number(t.bytes / config.events)]);
  return table(['the data of these questions', 'rows/s', 'merged after, s', 'bytes a row'], rows, 1);
}

export function tables(results) {
  const { config, environment, versions, bandwidth } = results, parts = [];
  const gb = x => (x / 1e9).toFixed(1);
  parts.push(`${environment.machine}, ${environment.revision}, ${results.began.slice(0, 10)}. ${config.events.toLocaleString('en-US')} generated events of at most ` +
    `${config.users.toLocaleString('en-US')} users in 90 days (seed 1, nothing sent twice), the same rows everywhere. ClickHouse ${versions.clickhouse} and DuckDB ${versions.duckdb} in process, ` +
    `Trackway over HTTP with \`cache=off\`; each question of each engine in turn, medians of ${config.runs}. Memory reads ${gb(bandwidth.all_threads_bytes_per_s)} GB/s with ` +
    `${config.cores} threads, ${gb(bandwidth.one_thread_bytes_per_s)} GB/s with one.`);
  if (results.hot) {
    const supported = results.hot.filter(r => !r.unsupported);
    parts.push(`### Hot, ${config.cores} threads`, hotTable(results),
      `*Inside* is \`meta.elapsed_us\`; *must* is the least that has to be read for this answer (the encoded columns of the rows it is about, or the stored sets), *limit* ` +
      `the time memory takes for it with ${config.cores} threads, and *× limit* how many times longer we take inside. Answers: ${supported.filter(r => !r.problems.length).length} of ` +
      `${supported.length} equal; ${results.hot.length - supported.length} unsupported so far.`);
    const notes = results.questions.filter(q => q.note).map(q => `- ${q.name}: ${q.note}`);
    const ways = results.hot.flatMap(r => Object.entries(r.variants).filter(([, label]) => label).map(([column, label]) => `${r.name} ${column}: ${label}`));
    parts.push(notes.join('\n'), ways.length ? `The peers' fastest ways, where there are several: ${ways.join('; ')}.` : '');
  }
  if (results.one) parts.push('### Hot, one thread', shortTable(results.one));
  if (results.cold) parts.push(`### Cold, ${config.cores} threads`, 'A new process, the tables open, their files dropped from the page cache; medians of ' + `${config.coldRuns}.`, coldTable(results.cold));
  parts.push('### Loading', sizeTable(results));
  if (results.loads) {
    parts.push(`The first ${config.loadEvents.toLocaleString('en-US')} events from a file in the page cache into an empty folder, in turn, medians of ${config.loadRuns}. *And core* counts the CPU of the ` +
      'engine\'s process: of ours the server\'s, without the client that reads the file. Trackway has synced every event before it acknowledges it and knows repeats; ClickHouse ' +
      'does not sync, and nothing tells a repeat.', loadTable(results.loads));
  }
  return parts.filter(Boolean).join('\n\n') + '\n';
}

if (process.argv[1] === new URL(import.meta.url).pathname) console.log(tables(JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))));
