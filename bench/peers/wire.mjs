// One kept-alive HTTP/1.1 connection, as thin as can be: for answers of a tenth of a millisecond Node's own client would
// be most of what is measured. Only for a server that sends Content-Length, one request at a time.
import net from 'net';
import { nowMs } from './process.mjs';

export class Wire {
  constructor(port) {
    this.port = port;
    this.chunks = [];
    this.length = 0;
    this.waiting = null;
  }

  connect() {
    this.socket = net.connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', chunk => this.take(chunk));
    this.socket.on('error', error => this.fail(error));
    this.socket.on('close', () => this.fail(new Error('trackwayd closed the connection')));
  }

  fail(error) {
    this.waiting?.reject(error);
    this.waiting = null;
    this.socket = null;
  }

  take(chunk) {
    this.chunks.push(chunk);
    this.length += chunk.length;
    const all = this.chunks.length === 1 ? chunk : null;
    if (this.end === undefined) {
      const bytes = all ?? Buffer.concat(this.chunks);
      this.chunks = [bytes];
      const head = bytes.indexOf('\r\n\r\n');
      if (head < 0) return;
      const text = bytes.toString('latin1', 0, head);
      this.status = Number(text.slice(9, 12));
      this.head = head + 4;
      this.end = this.head + Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? NaN);
    }
    if (Number.isNaN(this.end)) {
      this.socket.destroy(new Error('an answer without Content-Length'));
    } else if (this.length >= this.end) {
      const ms = nowMs() - this.began, text = Buffer.concat(this.chunks).toString('utf8', this.head, this.end);
      const { resolve } = this.waiting;
      this.waiting = null;
      resolve({ ms, status: this.status, text });
    }
  }

  // {ms, status, text}; `ms`: from before the request is written until the last byte of the answer is here.
  post(path, body) {
    if (!this.socket) this.connect();
    this.chunks = [];
    this.length = 0;
    this.end = undefined;
    const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${this.port}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.began = nowMs();
      this.socket.write(head + body);
    });
  }

  close() {
    this.socket?.destroy();
  }
}
