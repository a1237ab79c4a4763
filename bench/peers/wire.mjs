// A connection to trackwayd over HTTP, with the clock where the bytes are (bench/asker.c): this process has been idle while a peer
// had the processor, and would first have to find its own code again. One request at a time.
import { spawn } from 'child_process';

export class Wire {
  constructor(build, port) {
    this.child = spawn(`${build}/bench/asker`, [String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.stdout.on('data', chunk => this.take(chunk));
    this.child.stdin.on('error', error => this.fail(error));
    this.child.on('exit', (code, signal) => this.fail(new Error(`asker ended: ${code ?? signal}`)));
    this.child.on('error', error => this.fail(error));
    this.chunks = [];
    this.length = 0;
    this.waiting = null;
  }

  fail(error) {
    this.dead ??= error;
    this.waiting?.reject(this.dead);
    this.waiting = null;
  }

  take(chunk) {
    this.chunks.push(chunk);
    this.length += chunk.length;
    if (this.end === undefined) {
      const bytes = Buffer.concat(this.chunks), line = bytes.indexOf('\n');
      this.chunks = [bytes];
      if (line < 0) return;
      const [ns, status, length] = bytes.toString('latin1', 0, line).split(' ').map(Number);
      Object.assign(this, { ms: ns / 1e6, status, begin: line + 1, end: line + 1 + length });
    }
    if (this.length < this.end) return;
    const text = Buffer.concat(this.chunks).toString('utf8', this.begin, this.end), { resolve } = this.waiting;
    this.waiting = null;
    resolve({ ms: this.ms, status: this.status, text });
  }

  // {ms, status, text}; `ms`: from before the request is written until the last byte of the answer is here.
  post(path, body) {
    this.chunks = [];
    this.length = 0;
    this.end = undefined;
    if (this.dead) return Promise.reject(this.dead);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.child.stdin.write(`${path} ${Buffer.byteLength(body)}\n${body}`);
    });
  }

  close() {
    this.child.stdin.end();
  }
}
