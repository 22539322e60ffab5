-- One generation of the index. Everything here can be made again from the notes.
-- docs/index-format.md says what each table is for and in which order it is written.

create table meta (key text primary key, value) without rowid;

-- Sums that would cost a walk over a table: kept by who writes, in the same transaction, and recounted by `check`.
create table total (name text primary key, value integer not null) without rowid;
insert into total values ('files', 0), ('notes', 0), ('chunks', 0), ('note_bytes', 0), ('vectors', 0), ('token_bytes', 0);

-- What the scan compares: one row a file, notes and others alike. `racy_ns` is 0 where the witness is proven.
create table file (
  key blob primary key, id integer not null, size integer not null, mtime_ns integer not null,
  ctime_ns integer not null, inode integer not null, racy_ns integer not null
) without rowid;
create unique index file_id on file (id);
create index file_inode on file (inode);

create table note (
  id integer primary key, digest blob not null, title text not null, type text not null, permalink text,
  trust text not null, tags text, author text, session text, modified_ns integer,
  valid_from_ns integer, valid_to_ns integer, size integer not null, chunks integer not null
);
create index note_digest on note (digest);

create table chunk (
  note integer not null, ord integer not null, start integer not null, size integer not null, line integer not null,
  count integer not null, heading text not null, digest blob not null, speaker text, at_ns integer,
  input blob not null, traits integer not null,
  primary key (note, ord)
) without rowid;
create index chunk_digest on chunk (digest);
create index chunk_input on chunk (input);
create index chunk_at on chunk (at_ns) where at_ns is not null;

-- Folded last parts of permalinks, titles, aliases and file names; `whole` where the name has more parts than the last,
-- else "".
create table name (
  key text not null, note integer not null, levels integer not null, whole text not null,
  primary key (key, note, levels, whole)
) without rowid;
create index name_note on name (note);

create table link (
  note integer not null, ord integer not null, line integer not null, target text not null, name text not null,
  heading text, block text, embed integer not null, relative integer not null, relation text,
  primary key (note, ord)
) without rowid;
create index link_name on link (name);

create table fact (
  note integer not null, ord integer not null, line integer not null, kind text not null, label text,
  valid_from text, valid_to text,
  primary key (note, ord)
) without rowid;

-- Frontmatter leaves, tags, type and speakers, folded, for filters.
create table field (note integer not null, key text not null, value text not null, primary key (note, key, value))
without rowid;
create index field_value on field (key, value);

-- Notes set aside: since when, how often these very bytes were tried, and when they are tried again; others at once.
create table quarantine (
  key blob primary key, reason text not null, at_ns integer not null, tries integer not null, retry_ns integer not null,
  digest blob not null
) without rowid;
create index quarantine_at on quarantine (at_ns);
create index quarantine_retry on quarantine (retry_ns);

-- Full text: term rows are the truth, postings are made from them (docs/index-format.md).
create table term (t text primary key, id integer not null) without rowid;
create table doc (note integer primary key, seq integer not null, lens blob not null, ids blob not null,
  keys blob not null);
create index doc_seq on doc (seq);
create table gone (note integer primary key, seq integer not null);
create table segment (id integer primary key, notes blob not null, sizes blob not null, lens blob not null, dead blob not null,
  keys blob not null);
create table post (id integer primary key, data blob not null);

-- Meaning: vectors by the digest of what was embedded (chunk.input), so that equal text is embedded once. A reader holds
-- them by blocks of 1,024 ids and loads those anew whose change number moved.
-- A server may come to give another dimension under one name: that is another embedder, and the newer one is meant.
create table embedder (id integer primary key, identity text not null, dimension integer not null,
  unique (identity, dimension));
-- `crc` covers a vector with its token vectors; `own_crc` the vector alone, and whose it is: who reads a block proves it
-- without the tokens, and who reads stray pages (pages.py) knows which embedder made it.
create table vector (
  id integer primary key, embedder integer not null, input blob not null, code blob not null, bits blob not null,
  crc integer not null, own_crc integer not null
);
create unique index vector_input on vector (embedder, input);
create table token (id integer primary key, data blob not null);
create table vector_block (
  embedder integer not null, block integer not null, seq integer not null, primary key (embedder, block)
) without rowid;
