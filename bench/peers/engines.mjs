// The engines as the comparison sees them: start, ask, stop. A peer is a child process of host.mjs, Trackway a real
// trackwayd on a free port of 127.0.0.1, asked over HTTP. Every process is ended by the handle that started it.
import fs from 'fs';
import { fork, spawn, execFile } from 'child_process';
import { once } from 'events';
import { promisify } from 'util';
import { nowMs, usageOf } from './process.mjs';
import { Wire } from './wire.mjs';

const run = promisify(execFile);
const HERE = new URL('.', import.meta.url).pathname;
const START_MS_MAX = 120000;

export class Peer {
  constructor(engine, folder, modules) {
    this.engine = engine;
    this.folder = folder;
    this.modules = modules;
    this.waiting = new Map();
    this.id = 0;
  }

  async start() {
    fs.mkdirSync(this.folder, { recursive: true });
    this.child = fork(`${HERE}host.mjs`, [this.engine, this.folder, this.modules], { serialization: 'advanced' });
    const started = new Promise(resolve => this.waiting.set(0, { resolve }));
    this.child.on('message', message => {
      const { resolve, reject } = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error) reject(new Error(`${this.engine}: ${message.error}`));
      else resolve(message);
    });
    this.child.on('exit', code => this.waiting.forEach(({ reject }) => reject?.(new Error(`${this.engine} ended: ${code}`))));
    await Promise.race([started, once(this.child, 'exit').then(() => { throw new Error(`${this.engine} did not start`); })]);
    return this;
  }

  call(op, message = {}) {
    const id = ++this.id;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, op, ...message });
    });
  }

  usage() {
    return usageOf(this.child.pid);
  }

  async stop() {
    if (!this.child || this.child.exitCode !== null) return;
    this.child.disconnect();
    await once(this.child, 'exit');
  }
}

export class Trackway {
  constructor(build, folder, options = []) {
    this.build = build;
    this.folder = folder;
    this.options = options;
  }

  async start() {
    fs.mkdirSync(this.folder, { recursive: true });
    const log = `${this.folder}/../trackwayd.log`;
    const out = fs.openSync(log, 'w');
    this.child = spawn(`${this.build}/server/trackwayd`, ['--data', this.folder, '--listen', '127.0.0.1:0', ...this.options], { stdio: ['ignore', out, out] });
    fs.closeSync(out);
    const began = nowMs();
    for (;;) {
      const text = fs.readFileSync(log, 'utf8');
      this.port = Number(text.match(/^listening on 127\.0\.0\.1:(\d+)$/m)?.[1] || 0);
      if (this.port) break;
      if (this.child.exitCode !== null || nowMs() - began > START_MS_MAX) throw new Error(`trackwayd did not start:\n${text.slice(-2000)}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    this.wire = new Wire(this.build, this.port);
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  // All queries of one question: times and bytes add up. {unsupported: why} where the language does not have it yet, {failed: why}
  // where the server refuses, for instance since the answer needs more memory than a query may have.
  async ask(texts, now) {
    const sum = { ms: 0, elapsedMs: 0, bytesRead: 0, rowsRead: 0, tables: [] };
    for (const text of texts) {
      const { ms, status, text: body } = await this.wire.post('/v1/query?dataset=bench&cache=off&timeout_ms=300000', JSON.stringify({ query: text, now }));
      const answer = JSON.parse(body);
      if (status !== 200) {
        if (answer.error.code === 'unsupported') return { unsupported: answer.error.message };
        return { failed: `Trackway: ${text}: ${answer.error.message}` };
      }
      sum.ms += ms;
      sum.elapsedMs += answer.meta.elapsed_us / 1000;
      sum.bytesRead += answer.meta.bytes_read;
      sum.rowsRead += answer.meta.rows_read;
      sum.tables.push(answer.rows);
    }
    return sum;
  }

  // The command line client: its standard output.
  async client(...words) {
    const { stdout } = await run(`${this.build}/client/trackway`, words, { env: { ...process.env, TRACKWAY_SERVER: this.url }, maxBuffer: 1 << 26 });
    return stdout;
  }

  usage() {
    return usageOf(this.child.pid);
  }

  async stop() {
    this.wire?.close();
    if (!this.child || this.child.exitCode !== null) return;
    this.child.kill('SIGTERM');
    await once(this.child, 'exit');
  }
}

// Their pages leave the kernel's cache; the programs' own stay, so that "cold" is about data. Needs no root.
export async function dropPages(folder) {
  await run('sh', ['-c', 'sync -f "$1"; find "$1" -type f -size +0 -exec dd if={} iflag=nocache count=0 status=none \\;', 'sh', folder]);
}
