-- One row for a fact about the store: format, and what thinning did.
create table meta (key text primary key, value) without rowid;
-- A note, under the path that it has, or had last. Ids are never used again.
create table note (id integer primary key autoincrement, path blob not null);
create index note_path on note (path);
-- Authors, sessions and reasons, each once.
create table word (id integer primary key, text text not null unique);
-- What a note held once. `base` is the content that `data` is packed against, or null.
create table content (id integer primary key, digest blob not null unique, base integer, size integer not null, data blob not null);
create index content_base on content (base) where base is not null;
-- A change. `kind` as in store.Kind; `content` is null where the note was deleted.
create table entry (
  seq integer primary key autoincrement, note integer not null, kind integer not null, time_ns integer not null,
  path blob not null, content integer, author integer, session integer, reason integer
);
create index entry_note on entry (note, seq);
create index entry_content on entry (content);
create index entry_session on entry (session, seq) where session is not null
