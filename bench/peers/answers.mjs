// Answers of three engines as the same lines, so that they can be compared byte by byte.
// A line is the cells of a row with tabs between; lines are sorted, since two engines may order texts differently.

// One form for each value: instants as ms, midnights as dates, numbers with 12 digits, nothing as an empty cell.
function cellOf(value) {
  if (value === null || value === undefined || value === '\\N') return '';
  const text = String(value);
  if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(text)) {
    return String(Date.parse(text.replace(' ', 'T').replace(/Z?$/, 'Z')));
  }
  if (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text)) return String(Number(Number(text).toPrecision(12)));
  return text;
}

const lineOf = cells => cells.map(cellOf).join('\t');
export const linesOf = rows => rows.map(lineOf).sort();

// Rows of which every measure is 0 or missing: we fill empty buckets, SQL leaves them out.
const isEmpty = (row, keys) => row.length > keys && row.slice(keys).every(cell => cell === null || Number(cell) === 0);

// [keys, step, event, users, ...] with users that got at least so far -> [keys, level, users that got just so far]
function funnelRows(rows, keys) {
  const levels = new Map();
  for (const row of rows) {
    const key = lineOf(row.slice(0, keys));
    if (!levels.has(key)) levels.set(key, []);
    levels.get(key).push({ keys: row.slice(0, keys), step: row[keys], users: row[keys + 2] });
  }
  const out = [];
  for (const steps of levels.values()) {
    steps.forEach((s, i) => out.push([...s.keys, s.step, s.users - (i + 1 < steps.length ? steps[i + 1].users : 0)]));
  }
  return out.filter(row => row[keys + 1] !== 0);
}

// [cohort, period, size, users, ...] -> [cohort, period, users]; `withSize`: the peers count the start event in period 0
function retentionRows(rows, withSize) {
  return rows.map(r => [r[0], r[1], withSize && Number(r[1]) === 0 ? r[2] : r[3]]).filter(r => r[2] !== 0);
}

// Two models, each [key, conversions, ..., value] -> [key, conversions, value, conversions, value]
function attributionRows(tables) {
  const byKey = new Map();
  tables.forEach((rows, i) => rows.forEach(row => {
    const key = row[0] === '(none)' || row[0] === null ? '' : row[0];
    if (!byKey.has(key)) byKey.set(key, [key, 0, 0, 0, 0]);
    byKey.get(key).splice(1 + 2 * i, 2, row[1], row.at(-1));
  }));
  return [...byKey.values()];
}

// Our tables as the peers' rows. `shape`: the words behind "-- answer".
export function trackwayRows(shape, tables) {
  const [kind, word] = shape, rows = tables[0];
  if (kind === 'table') return rows.filter(row => !isEmpty(row, Number(word)) || Number(word) === 0);
  if (kind === 'funnel') return funnelRows(rows, Number(word));
  if (kind === 'retention') return retentionRows(rows, word === 'size');
  if (kind === 'attribution') return attributionRows(tables);
  if (kind === 'paths') return rows.map(([path, count]) => [(Array.isArray(path) ? path : JSON.parse(path)).join('>'), count]);
  throw new Error(`questions.sql: "${shape.join(' ')}" is no shape of an answer`);
}

// Rows without their first column, equal ones added up: what a "coarse" definition shares with ours.
export function coarseRows(rows) {
  const sums = new Map();
  for (const row of rows) {
    const key = lineOf(row.slice(1, -1));
    const sum = sums.get(key) || [...row.slice(1, -1), 0];
    sum[sum.length - 1] += Number(row[row.length - 1]);
    sums.set(key, sum);
  }
  return [...sums.values()];
}

// '' where equal, else where two sorted lists of lines part.
export function difference(ours, theirs) {
  if (ours.length === theirs.length && ours.every((line, i) => line === theirs[i])) return '';
  const i = ours.findIndex((line, at) => line !== theirs[at]);
  const at = i < 0 ? ours.length : i;
  const show = line => (line === undefined ? '(no line)' : `"${line.replaceAll('\t', ' ')}"`);
  return `${ours.length} lines here, ${theirs.length} there; line ${at + 1}: ${show(ours[at])} and ${show(theirs[at])}`;
}
