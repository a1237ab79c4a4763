// The official clients against the real server: node clients.mjs PATH/TO/trackwayd
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { Analytics } from '@segment/analytics-node';
import { IngestService, EventBatchSchema, ReceiptStatus } from './gen/trackway/v1/ingest_pb.js';
import { QueryService } from './gen/trackway/v1/query_pb.js';

let passed = 0;
let failed = 0;
async function claim(name, check) {
  try {
    await check();
    passed++;
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}: ${error.stack ?? error}`);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'trackway-clients-'));
const server = spawn(process.argv[2], ['--data', join(folder, 'data'), '--listen', '127.0.0.1:0'],
  { stdio: ['ignore', 'pipe', 'pipe'] });
const exited = new Promise((resolve) => server.on('exit', (code) => resolve(code)));
const port = await new Promise((resolve, reject) => {
  let text = '';
  const read = (chunk) => {
    text += chunk;
    const found = /listening on 127\.0\.0\.1:(\d+)/.exec(text);
    if (found) resolve(Number(found[1]));
  };
  server.stdout.on('data', read);
  server.stderr.on('data', read);
  server.on('exit', () => reject(new Error(`trackwayd ended: ${text}`)));
});
const url = `http://127.0.0.1:${port}`;

const DAY = 86400000;
const START = Date.UTC(2025, 4, 1);
const event = (i, name, user, at, properties = []) =>
  ({ eventId: `e${i}`, eventName: name, userId: user, eventTimeMs: BigInt(START + at), properties });
const text = (name, value) => ({ name, value: { case: 'stringValue', value } });
const number = (name, value) => ({ name, value: { case: 'numberValue', value } });

for (const httpVersion of ['1.1', '2']) {
  for (const useBinaryFormat of [true, false]) {
    const label = `connect over HTTP/${httpVersion}, ${useBinaryFormat ? 'protobuf' : 'JSON'}`;
    const dataset = `connect-${httpVersion}-${useBinaryFormat}`;
    const transport = createConnectTransport({ baseUrl: url, httpVersion, useBinaryFormat });
    const ingest = createClient(IngestService, transport);
    const query = createClient(QueryService, transport);

    await claim(`${label}: events in, with receipts`, async () => {
      const batch = create(EventBatchSchema, {
        strings: ['page_view', 'platform', 'ios'],
        events: [
          event(1, 'sign up', 'ann', 0, [text('channel', 'ad'), number('amount', 12.5)]),
          event(2, 'pay', 'ann', 3600000, [number('amount', 0.1), { name: 'ok', value: { case: 'boolValue', value: true } }]),
          event(3, 'sign up', 'bob', DAY),
          { eventId: 'e4', eventNameRef: 1, userId: 'bob', eventTimeMs: BigInt(START + DAY),
            properties: [{ nameRef: 2, value: { case: 'stringRef', value: 3 } },
              { name: 'tags', value: { case: 'listValue', value: { values: ['x', 'y'] } } },
              { name: 'price', value: { case: 'decimalValue', value: '0.20' } },
              { name: 'n', value: { case: 'intValue', value: -7n } }] },
          event(1, 'sign up', 'eve', 0, [number('amount', 12.5), text('channel', 'ad')]), // a retry may carry another user
          event(6, '', 'eve', 0),
        ],
      });
      const answer = await ingest.ingest({ dataset, batch });
      assert.deepEqual([answer.accepted, answer.duplicate, answer.rejected, answer.conflict], [4n, 1n, 1n, 0n]);
      assert.deepEqual(answer.receipts.map((r) => r.status),
        [1, 1, 1, 1, 2, 3].map((status) => status), 'statuses in order');
      assert.equal(answer.receipts[5].status, ReceiptStatus.REJECTED);
      assert.match(answer.receipts[5].reason, /name/);
    });
    await claim(`${label}: one id with two contents is a conflict, and kept`, async () => {
      const batch = create(EventBatchSchema, { events: [event(1, 'sign up', 'ann', 0, [number('amount', 0.3),
        { name: 'at', value: { case: 'timeMsValue', value: BigInt(START) } }])] });
      const answer = await ingest.ingest({ dataset, batch });
      assert.deepEqual([answer.accepted, answer.duplicate, answer.rejected, answer.conflict], [0n, 0n, 0n, 1n]);
      assert.equal(answer.receipts[0].status, ReceiptStatus.CONFLICT);
      assert.match(answer.receipts[0].reason, /other properties/);
      const letters = await query.query({ dataset: `${dataset}.dead`, query: 'events conflict columns (original_event_id, event_json)' });
      assert.deepEqual(letters.columns[0].stringValues, ['e1']);
      assert.deepEqual(JSON.parse(letters.columns[1].stringValues[0]), { event_id: 'e1', event_time: '2025-05-01T00:00:00Z',
        event_name: 'sign up', user_id: 'ann', properties: { amount: 0.3, at: '2025-05-01T00:00:00Z' } });
    });
    await claim(`${label}: a funnel by columns`, async () => {
      const answer = await query.query({ dataset, query: 'funnel `sign up` -> pay within 1d' });
      const column = (name) => answer.columns.find((c) => c.name === name);
      assert.equal(answer.rowCount, 2n);
      assert.deepEqual(column('users').intValues, [2n, 1n]);
      assert.deepEqual(column('event').stringValues, ['`sign up`', 'pay']);
      assert.equal(answer.meta.dataset, dataset);
      assert.equal(answer.meta.exact, true);
    });
    await claim(`${label}: sums are exact, null is null`, async () => {
      const answer = await query.query({ dataset, query: 'trend sum(amount of any) as s, avg(amount of nothing) as a' });
      assert.deepEqual(answer.columns[0].numberValues, [12.6]);
      assert.deepEqual(answer.columns[1].nulls, [0n]);
    });
    await claim(`${label}: parameters are values`, async () => {
      const answer = await query.query({
        dataset, query: 'trend count(any) as n where user_id = :who and (platform = :p or not (platform = :p))',
        params: { who: { value: { case: 'stringValue', value: 'bob' } }, p: { value: { case: 'stringValue', value: '" or 1' } } } });
      assert.deepEqual(answer.columns[0].intValues, [2n]);
    });
    await claim(`${label}: errors keep their code and place`, async () => {
      await assert.rejects(query.query({ dataset, query: 'funnel a -> b withn 1h' }), (error) => {
        assert.ok(error instanceof ConnectError);
        assert.equal(error.code, Code.InvalidArgument);
        assert.match(error.rawMessage, /within/);
        return true;
      });
      await assert.rejects(query.query({ dataset: 'never-seen', query: 'show events' }),
        (error) => error.code === Code.NotFound);
    });
  }
}

await claim('connect GET for a query', async () => {
  const transport = createConnectTransport({ baseUrl: url, httpVersion: '1.1', useHttpGet: true, useBinaryFormat: true });
  const answer = await createClient(QueryService, transport).query({ dataset: 'connect-2-true', query: 'distinct user of any' });
  assert.deepEqual(answer.columns[0].intValues, [2n]);
});
await claim('connect: gzip request bodies', async () => {
  const { compressionGzip } = await import('@connectrpc/connect-node');
  const transport = createConnectTransport({ baseUrl: url, httpVersion: '1.1', sendCompression: compressionGzip,
    compressMinBytes: 0, useBinaryFormat: false });
  const answer = await createClient(QueryService, transport).query({ dataset: 'connect-2-true', query: 'distinct user of any' });
  assert.deepEqual(answer.columns[0].intValues, [2n]);
});
await claim('connect: a deadline that has passed is a deadline error, a wrong one an invalid argument', async () => {
  const call = async (timeout) => {
    const answer = await fetch(`${url}/trackway.v1.QueryService/Query`, { method: 'POST',
      body: '{"dataset":"connect-2-true","query":"show events"}',
      headers: { 'content-type': 'application/json', 'connect-timeout-ms': timeout } });
    return [answer.status, (await answer.json()).code];
  };
  assert.deepEqual(await call('0'), [504, 'deadline_exceeded']);
  assert.deepEqual(await call('soon'), [400, 'invalid_argument']);
});
await claim('connect: a wrong content type is 415', async () => {
  const answer = await fetch(`${url}/trackway.v1.QueryService/Query`, { method: 'POST', body: 'x',
    headers: { 'content-type': 'text/plain' } });
  assert.equal(answer.status, 415);
});

await claim('Segment SDK: calls arrive once, with their properties', async () => {
  const analytics = new Analytics({ writeKey: 'any', host: url, path: '/v1/batch?dataset=segment', flushAt: 5, maxEventsInBatch: 5 });
  const errors = [];
  analytics.on('error', (error) => errors.push(error));
  for (let i = 0; i < 12; i++) {
    analytics.track({ userId: `u${i % 3}`, event: 'Order Completed', messageId: `m${i}`,
      timestamp: new Date(START + i * 60000), properties: { total: 9.99, items: ['a', 'b'], address: { city: 'Oslo' } } });
  }
  analytics.track({ userId: 'u0', event: 'Order Completed', messageId: 'm0', timestamp: new Date(START) });
  analytics.track({ userId: 'u1', event: 'Order Completed', messageId: 'm1', timestamp: new Date(START), properties: { total: 1 } });
  analytics.identify({ userId: 'u1', traits: { plan: 'pro' } });
  analytics.page({ anonymousId: 'anon-1', name: 'Home', properties: { url: '/' } });
  await analytics.closeAndFlush();
  assert.deepEqual(errors, []);
  const ask = async (query, dataset = 'segment') =>
    (await (await fetch(`${url}/v1/query?dataset=${dataset}`, { method: 'POST', body: query })).json()).rows;
  assert.deepEqual(await ask('trend count(`Order Completed`) as n, users(`Order Completed`) as u, sum(total) as s'), [[12, 3, 119.88]]);
  assert.deepEqual(await ask('trend count(any) as n by `address.city` where `address.city` is set'), [['Oslo', 12]]);
  assert.deepEqual(await ask('trend count(identify) as i, count(page) as p, users(any) as u'), [[1, 1, 4]]);
  assert.deepEqual(await ask('events conflict columns (original_event_id)', 'segment.dead').then((rows) => rows.flat().sort()), ['m0', 'm1']);
});

server.kill('SIGTERM');
await claim('the server ends cleanly', async () => assert.equal(await exited, 0));
rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
