// Reads questions.sql: what is asked, how our answer becomes rows, and each peer's ways to ask it.
import fs from 'fs';

const RANGE = "event_time>='2024-07-31'"; // the last 30 days of the data

// "al", "bl", "settings a=1, b=2", "coarse" ... behind the label of a variant
function variantOf(engine, words) {
  const variant = { engine, label: '', only: null, settings: '', coarse: false, loose: false, check: false, sql: '' };
  for (const word of words.split(';').map(w => w.trim()).filter(Boolean)) {
    if (word.startsWith('only ')) variant.only = word.slice(5);
    else if (word.startsWith('settings ')) variant.settings = word.slice(9);
    else if (['coarse', 'loose', 'check'].includes(word)) variant[word] = true;
    else variant.label = word;
  }
  return variant;
}

// "event_name of true; event_time, subject of event_name='register'" -> {rows: [{columns, predicate}], sets: []}
// "sets any from 2024-07-31 to 2024-08-30" -> the queries that read just these stored sets
function touchesOf(text) {
  const parts = text.split(';').map(part => part.trim()), isSets = part => part.startsWith('sets ');
  const sets = parts.filter(isSets).map(part => part.replace(/^sets (\w+)(.*)$/, 'distinct user of $1 each day$2'));
  const rows = parts.filter(part => !isSets(part)).map(part => {
    const at = part.indexOf(' of ');
    const predicate = part.slice(at + 4).trim();
    return { columns: part.slice(0, at).split(',').map(c => c.trim()), predicate: predicate === 'range' ? RANGE : predicate };
  });
  return { rows, sets };
}

export function readQuestions(path, user) {
  const questions = [];
  let question = null, variant = null;
  for (const line of fs.readFileSync(path, 'utf8').replaceAll('{USER}', user).split('\n')) {
    const [, word, rest] = line.match(/^-- (question|trackway|answer|touches|note|clickhouse|duckdb)\b ?(.*)$/) || [];
    if (word === 'question') {
      const [, name, about] = rest.match(/^(\w+): (.*)$/);
      question = { name, about, trackway: [], answer: [], touches: null, note: '', variants: [] };
      variant = null;
      questions.push(question);
    } else if (question && word === 'trackway') question.trackway.push(rest);
    else if (question && word === 'answer') question.answer = rest.split(' ');
    else if (question && word === 'touches') question.touches = touchesOf(rest);
    else if (question && word === 'note') question.note = rest;
    else if (question && word) {
      variant = variantOf(word, rest);
      question.variants.push(variant);
    } else if (variant && !line.startsWith('--')) variant.sql += line + '\n';
  }
  for (const q of questions) for (const v of q.variants) v.sql = v.sql.trim();
  return questions;
}
