// CouchDB's interface by express-pouchdb, and what the real one answers where that one would not. In the image at the
// places of CouchDB; tests/servers/couchdb has it elsewhere.
const fs = require('fs');
const express = require('express');

const data = process.env.COUCHDB_DATA || '/opt/couchdb/data';
const state = process.env.COUCHDB_STATE || '/tmp';
const address = process.env.COUCHDB_ADDRESS || '0.0.0.0';
const port = Number(process.env.COUCHDB_PORT || 5984);
const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-leveldb'))
  .plugin(require('pouchdb-adapter-http'))
  .plugin(require('pouchdb-replication'))
  .plugin(require('pouchdb-mapreduce'))
  .defaults({ prefix: `${data}/` });

const user = process.env.COUCHDB_USER;
const password = process.env.COUCHDB_PASSWORD;
const config = `${state}/couchdb.json`;
fs.writeFileSync(config, JSON.stringify({ admins: { [user]: password }, log: { file: `${state}/couchdb.log` } }));

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
const server = app.listen(port, address, () => console.log(`http://${address}:${server.address().port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)) || setTimeout(() => process.exit(0), 500));
