// CouchDB's interface by express-pouchdb, and what the real one answers where that one would not.
const fs = require('fs');
const express = require('express');
const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-leveldb'))
  .plugin(require('pouchdb-adapter-http'))
  .plugin(require('pouchdb-replication'))
  .plugin(require('pouchdb-mapreduce'))
  .defaults({ prefix: '/opt/couchdb/data/' });

const user = process.env.COUCHDB_USER;
const password = process.env.COUCHDB_PASSWORD;
const config = '/tmp/couchdb.json';
fs.writeFileSync(config, JSON.stringify({ admins: { [user]: password }, log: { file: '/tmp/couchdb.log' } }));

const app = express();
app.get('/_up', (_, answer) => answer.json({ status: 'ok', seeds: {} }));
// Only admins make and delete databases.
app.use((request, answer, next) => {
  const [, database, rest] = request.path.split('/');
  if (!/^(PUT|DELETE)$/.test(request.method) || !database || rest) return next();
  const sent = Buffer.from((request.get('authorization') || '').replace(/^Basic /, ''), 'base64').toString();
  if (sent === `${user}:${password}`) return next();
  const reason = sent ? 'Name or password is incorrect.' : 'You are not a server admin.';
  answer.status(401).json({ error: 'unauthorized', reason });
});
app.use(require('express-pouchdb')(PouchDB, { configPath: config }));
const server = app.listen(5984, '0.0.0.0');
process.on('SIGTERM', () => server.close(() => process.exit(0)) || setTimeout(() => process.exit(0), 500));
