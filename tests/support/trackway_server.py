"""A real trackwayd for the runners: started on a free port over a new data folder, ended by its own id."""
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build_dir():
    return os.path.join(ROOT, os.environ.get('BUILD', 'build'))


class QueryError(Exception):
    """The server refused: .code is its word ("invalid", "unsupported", ...), .status the HTTP status."""

    def __init__(self, status, code, message):
        super().__init__(f'{status} {code}: {message}')
        self.status, self.code, self.message = status, code, message


class Server:
    def __init__(self, *options, folder=None):
        """`folder`: one that outlives this server, for tests that start another one over it."""
        self.keeps_folder = folder is not None
        self.folder = folder or tempfile.mkdtemp(prefix='trackway-test-')
        self.log = open(os.path.join(self.folder, 'log'), 'w+b')
        program = os.path.join(build_dir(), 'server', 'trackwayd')
        self.process = subprocess.Popen(
            [program, '--data', os.path.join(self.folder, 'data'), '--listen', '127.0.0.1:0', *options],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.port = self._await_port()
        self.connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=300)

    def _await_port(self):
        import re
        import time
        for _ in range(600):
            with open(self.log.name, 'rb') as log:
                text = log.read().decode('utf-8', 'replace')
            found = re.search(r'listening on 127\.0\.0\.1:(\d+)', text)
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                raise RuntimeError('trackwayd did not start:\n' + text[-2000:])
            time.sleep(0.05)
        raise RuntimeError('trackwayd did not say its port:\n' + text[-2000:])

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}'

    def request(self, method, path, body=None, headers=None):
        for attempt in (0, 1):  # an idle keep-alive connection may have been closed meanwhile
            try:
                self.connection.request(method, path, body=body, headers=headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.read(), dict(answer.getheaders())
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                if attempt:
                    raise

    def ingest(self, dataset, events):
        body = '\n'.join(json.dumps(event) for event in events).encode()
        status, text, _ = self.request('POST', '/v1/events?dataset=' + urllib.parse.quote(dataset), body,
                                       {'content-type': 'application/x-ndjson'})
        if status != 200:
            raise RuntimeError(f'ingest: {status} {text[:300]!r}')
        return json.loads(text)

    def query(self, dataset, text, params=None, now=None):
        body = json.dumps({'query': text, 'params': params or {}}).encode()
        status, answer, _ = self.request('POST', '/v1/query?cache=off&dataset=' + urllib.parse.quote(dataset) + ('' if now is None else f'&now={now}'), body,
                                         {'content-type': 'application/json'})
        if status != 200:
            try:
                error = json.loads(answer)['error']
            except (ValueError, KeyError):
                raise RuntimeError(f'query: {status} {answer[:300]!r}') from None
            raise QueryError(status, error['code'], error['message'])
        return Table(json.loads(answer))

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self._ended()

    def kill(self):
        """SIGKILL, as a crash would."""
        self.process.kill()
        return self._ended()

    def _ended(self):
        self.connection.close()
        status = self.process.wait(timeout=120)
        self.log.close()
        if not self.keeps_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Table:
    def __init__(self, answer):
        self.columns = [column['name'] for column in answer['columns']]
        self.rows = [dict(zip(self.columns, row)) for row in answer['rows']]
        self.totals = dict(zip(self.columns, answer['totals'])) if answer.get('totals') else {}
        self.meta = answer['meta']

    def column(self, name):
        return [row[name] for row in self.rows]


def name(text):
    """An event or property name, quoted so that any text is one."""
    return '`' + text.replace('`', '``') + '`'


def literal(value):
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (int, float)):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
