//! Two directories: `content` with a file for each object, named by its sum, and `metadata` with a
//! file for each key. Upstream's proxy lays them out so too, and a directory of its can be taken over.
//!
//! A file appears under its name when it is whole and on the disk: a process that is killed leaves
//! only hidden files, which the next one removes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA512};

use crate::rules::{self, Entry, Key, Sum};
use crate::{CacheError, OpenError, Settings, WhenFull};

/// Uploads at the same time.
const UPLOADS_MAX: usize = 32;
/// Keys with entries.
const KEYS_MAX: usize = 200_000;
/// All entries together, in bytes.
const KEYS_BYTES_MAX: u64 = 1 << 30;
/// Largest file with entries that is read, in bytes.
const ENTRIES_BYTES_MAX: u64 = 64 << 20;
/// The clock of a file that is used again and again is written so often at most.
const USED_EVERY: Duration = Duration::from_secs(3600);

/// Names of what is under way begin so.
const UNDER_WAY: &str = ".upload-";
/// Whoever has it locked has the cache.
const LOCK: &str = ".lock";

/// A network cache on the disk. All methods block.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    state: Mutex<State>,
    /// Held while entries are written: one after another.
    entries: Mutex<()>,
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    objects: HashMap<Sum, Kept>,
    /// The same objects, by when somebody wanted them last.
    by_use: BTreeSet<(SystemTime, Sum)>,
    /// Of all objects.
    bytes: u64,
    /// Of what is under way.
    reserved: u64,
    uploads: usize,
    /// For names of what is under way.
    count: u64,
    keys: usize,
    /// Of the files with entries.
    keys_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    bytes: u64,
    used: SystemTime,
}

/// An object that is there.
#[derive(Debug)]
pub struct Found {
    /// Its content.
    pub file: File,
    /// Its size.
    pub bytes: u64,
    /// Since when it is there.
    pub since: SystemTime,
}

impl Store {
    /// Opens a cache, or makes one.
    ///
    /// # Errors
    /// When another process has it, or the disk fails.
    pub fn open(settings: &Settings) -> Result<Arc<Store>, OpenError> {
        let failed = |directory: &Path| {
            let directory = directory.to_owned();
            |source| OpenError::Io { directory, source }
        };
        for directory in [&settings.content, &settings.metadata] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed(directory))?;
        }
        let content = &settings.content;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(content.join(LOCK))
            .map_err(failed(content))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let directory = content.clone();
                return Err(OpenError::InUse { directory });
            }
            Err(TryLockError::Error(error)) => return Err(failed(content)(error)),
        }
        let mut state = State::default();
        state.read_objects(content).map_err(failed(content))?;
        let metadata = &settings.metadata;
        (state.keys, state.keys_bytes) = tidy(metadata).map_err(failed(metadata))?;
        Ok(Arc::new(Store {
            settings: settings.clone(),
            state: Mutex::new(state),
            entries: Mutex::new(()),
            _lock: lock,
        }))
    }

    /// How it was opened.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many objects there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let state = self.state();
        (state.objects.len(), state.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, sum: &Sum) -> PathBuf {
        self.settings.content.join(sum.to_string())
    }

    /// Whether an object is there.
    pub fn holds(&self, sum: &Sum) -> bool {
        self.state().objects.contains_key(sum)
    }

    /// An object, which is from now on the one that was used last.
    ///
    /// # Errors
    /// When there is none, or the disk fails.
    pub fn find(&self, sum: &Sum) -> Result<Found, CacheError> {
        let file = match File::open(self.path(sum)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody may have removed it by hand.
                self.state().forget(sum);
                return Err(CacheError::NoObject(sum.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let found = Found {
            bytes: metadata.len(),
            since: metadata.modified()?,
            file,
        };
        let now = SystemTime::now();
        let used = self.state().used(*sum, found.bytes, now);
        if now.duration_since(used).is_ok_and(|ago| ago >= USED_EVERY) {
            // For the next start. A cache that may only be read is one still.
            let _ = found.file.set_times(FileTimes::new().set_accessed(now));
        }
        Ok(found)
    }

    /// Begins an upload of so many bytes, if that is known.
    ///
    /// # Errors
    /// When it is too large, or there is no room, or the disk fails.
    pub fn begin(self: &Arc<Self>, declared: Option<u64>) -> Result<Upload, CacheError> {
        let bytes = declared.unwrap_or_default();
        self.check_size(bytes)?;
        let number = {
            let mut state = self.state();
            if state.uploads >= UPLOADS_MAX {
                return Err(CacheError::Busy);
            }
            self.reserve(&mut state, bytes)?;
            state.uploads += 1;
            state.count += 1;
            state.count
        };
        let path = self.settings.content.join(format!("{UNDER_WAY}{number}"));
        // Made first: dropping it takes everything back.
        let mut upload = Upload {
            store: Arc::clone(self),
            file: None,
            path,
            digest: Context::new(&SHA512),
            bytes: 0,
            reserved: bytes,
        };
        upload.file = Some(create(&upload.path)?);
        Ok(upload)
    }

    fn check_size(&self, bytes: u64) -> Result<(), CacheError> {
        let bytes_max = self.settings.object_bytes_max;
        if bytes > bytes_max {
            return Err(CacheError::TooLarge { bytes_max });
        }
        Ok(())
    }

    /// Sets so many bytes aside; if need be, what was not used the longest goes.
    fn reserve(&self, state: &mut State, bytes: u64) -> Result<(), CacheError> {
        let limit = self.settings.total_bytes_max;
        let needed = |state: &State| state.bytes + state.reserved + bytes;
        let fits = state.reserved.saturating_add(bytes) <= limit;
        if needed(state) > limit && (!fits || self.settings.when_full == WhenFull::Refuse) {
            return Err(CacheError::Full(format!(
                "{} of {limit} bytes are taken",
                state.bytes + state.reserved
            )));
        }
        while needed(state) > limit {
            let Some((_, oldest)) = state.by_use.first().copied() else {
                break;
            };
            match fs::remove_file(self.path(&oldest)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => state.forget(&oldest),
            }
            tracing::info!("the network cache is full: it forgets {oldest}");
        }
        state.reserved += bytes;
        Ok(())
    }

    /// The entries of a key about objects that can be had, the newest first.
    ///
    /// # Errors
    /// When there are none, or the disk fails.
    pub fn entries(&self, key: &Key) -> Result<Vec<Entry>, CacheError> {
        let mut list = self.read_entries(key.as_str())?;
        list.retain(|entry| self.can_be_had(&entry.sum));
        if list.is_empty() {
            return Err(CacheError::NoEntry);
        }
        Ok(list)
    }

    /// Adds an entry to a key; `false` when it is there already.
    ///
    /// # Errors
    /// When its object is not there, or there is no room, or the disk fails.
    pub fn add_entry(&self, key: &Key, entry: Entry) -> Result<bool, CacheError> {
        let _one_at_a_time = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_there(&entry.sum) {
            return Err(CacheError::NoContent(entry.sum.to_string()));
        }
        let mut list = self.read_entries(key.as_str())?;
        // What is about nothing anymore makes room first.
        list.retain(|known| self.can_be_had(&known.sum));
        if !rules::add(&mut list, entry)? {
            return Ok(false);
        }
        self.keep_entries(key.as_str(), &list)?;
        Ok(true)
    }

    /// Keeps what the cache behind this one says of a key, in the place of what it said before.
    ///
    /// # Errors
    /// When there is no room, or the disk fails.
    pub(crate) fn remember(&self, key: &Key, theirs: Vec<Entry>) -> Result<(), CacheError> {
        let _one_at_a_time = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.read_entries(key.as_str())?;
        if rules::replace(&mut list, rules::BEHIND, theirs) {
            self.keep_entries(key.as_str(), &list)?;
        }
        Ok(())
    }

    /// Writes the entries of a key, if there is room for them. Whoever calls it is the only one.
    fn keep_entries(&self, key: &str, list: &[Entry]) -> Result<(), CacheError> {
        let text = rules::written(list);
        let bytes = text.len() as u64;
        let mut known = self.entries_bytes(key)?;
        let is_full = |known: Option<u64>| {
            let state = self.state();
            let more = bytes.saturating_sub(known.unwrap_or_default());
            (known.is_none() && state.keys >= KEYS_MAX)
                || state.keys_bytes.saturating_add(more) > KEYS_BYTES_MAX
        };
        if is_full(known) {
            self.sweep_entries()?;
            known = self.entries_bytes(key)?;
            if is_full(known) {
                let (keys, of) = (KEYS_MAX, KEYS_BYTES_MAX);
                return Err(CacheError::Full(format!(
                    "it may have {keys} keys with {of} bytes of entries"
                )));
            }
        }
        self.write_entries(key, &text)?;
        let mut state = self.state();
        state.keys += usize::from(known.is_none());
        state.keys_bytes = (state.keys_bytes + bytes).saturating_sub(known.unwrap_or_default());
        Ok(())
    }

    /// The size of a key's file, if there is one.
    fn entries_bytes(&self, key: &str) -> Result<Option<u64>, CacheError> {
        match fs::metadata(self.settings.metadata.join(key)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes entries about objects that are not there anymore; the keys that lost some.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sweep(&self) -> Result<Vec<String>, CacheError> {
        let _one_at_a_time = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep_entries()
    }

    fn sweep_entries(&self) -> Result<Vec<String>, CacheError> {
        let mut swept = Vec::new();
        for found in fs::read_dir(&self.settings.metadata)? {
            let name = found?.file_name();
            let Some(key) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let before = self.read_entries(key)?;
            let mut list = before.clone();
            list.retain(|entry| self.can_be_had(&entry.sum));
            if list.is_empty() {
                fs::remove_file(self.settings.metadata.join(key))?;
                swept.push(key.to_owned());
                continue;
            }
            if list != before {
                self.write_entries(key, &rules::written(&list))?;
                swept.push(key.to_owned());
            }
        }
        let (keys, bytes) = tidy(&self.settings.metadata)?;
        let mut state = self.state();
        (state.keys, state.keys_bytes) = (keys, bytes);
        Ok(swept)
    }

    /// As [`Store::holds`], also of what was put there by hand.
    fn is_there(&self, sum: &Sum) -> bool {
        self.holds(sum) || self.path(sum).is_file()
    }

    /// Whether an object is there, or could be behind this cache.
    fn can_be_had(&self, sum: &Sum) -> bool {
        self.settings.upstream.cache_url.is_some() || self.is_there(sum)
    }

    fn read_entries(&self, key: &str) -> Result<Vec<Entry>, CacheError> {
        let path = self.settings.metadata.join(key);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > ENTRIES_BYTES_MAX => {
                let why = format!("the entries of {key} have {} bytes", metadata.len());
                Err(io::Error::other(why).into())
            }
            Ok(_) => Ok(rules::read(&fs::read(&path)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever calls it is the only one.
    fn write_entries(&self, key: &str, text: &str) -> Result<(), CacheError> {
        let directory = &self.settings.metadata;
        let path = directory.join(format!("{UNDER_WAY}entries"));
        let mut file = create(&path)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&path, directory.join(key)))
            .and_then(|()| sync(directory));
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        Ok(written?)
    }
}

impl State {
    fn read_objects(&mut self, content: &Path) -> io::Result<()> {
        tidy(content)?;
        for found in fs::read_dir(content)? {
            let found = found?;
            let name = found.file_name();
            let Some(Ok(sum)) = name.to_str().map(str::parse) else {
                continue;
            };
            let metadata = found.metadata()?;
            if metadata.is_file() {
                let used = metadata.accessed().or_else(|_| metadata.modified())?;
                self.used(sum, metadata.len(), used);
            }
        }
        Ok(())
    }

    /// Notes that an object was used; when it was before.
    fn used(&mut self, sum: Sum, bytes: u64, now: SystemTime) -> SystemTime {
        let before = self.objects.insert(sum, Kept { bytes, used: now });
        self.bytes += bytes;
        if let Some(before) = before {
            self.bytes -= before.bytes;
            self.by_use.remove(&(before.used, sum));
        }
        self.by_use.insert((now, sum));
        before.map_or(SystemTime::UNIX_EPOCH, |before| before.used)
    }

    fn forget(&mut self, sum: &Sum) {
        if let Some(kept) = self.objects.remove(sum) {
            self.bytes -= kept.bytes;
            self.by_use.remove(&(kept.used, *sum));
        }
    }
}

/// An object on its way in. Dropped before it is finished it leaves nothing.
pub struct Upload {
    store: Arc<Store>,
    file: Option<File>,
    path: PathBuf,
    digest: Context,
    bytes: u64,
    /// Set aside for it.
    reserved: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes in {}", self.bytes, self.path.display())
    }
}

impl Upload {
    /// Writes what came next.
    ///
    /// # Errors
    /// When it becomes too large, or there is no room, or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        let total = self.bytes + bytes.len() as u64;
        self.store.check_size(total)?;
        if let Some(more) = total.checked_sub(self.reserved).filter(|more| *more > 0) {
            self.store.reserve(&mut self.store.state(), more)?;
            self.reserved = total;
        }
        let file = self
            .file
            .as_mut()
            .ok_or(ErrorKind::NotFound)
            .map_err(io::Error::from)?;
        file.write_all(bytes).map_err(of_disk)?;
        self.digest.update(bytes);
        self.bytes = total;
        Ok(())
    }

    /// Keeps it; its sum, its bytes, and whether it was not there before. Afterwards it is on the
    /// disk.
    ///
    /// # Errors
    /// When it is not what was expected, or the disk fails.
    pub fn finish(mut self, expected: Option<Sum>) -> Result<(Sum, u64, bool), CacheError> {
        let digest = std::mem::replace(&mut self.digest, Context::new(&SHA512)).finish();
        let found = Sum::of_digest(digest.as_ref())
            .ok_or_else(|| io::Error::other("this is no SHA-512"))?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(CacheError::WrongSum {
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(of_disk)?;
        }
        let is_new = {
            // One that came at the same time has the same content: whoever is last replaces it.
            let mut state = self.store.state();
            fs::rename(&self.path, self.store.path(&found))?;
            let is_new = !state.objects.contains_key(&found);
            state.used(found, self.bytes, SystemTime::now());
            is_new
        };
        sync(&self.store.settings.content)?;
        Ok((found, self.bytes, is_new))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A finished one has another name by now.
        let _ = fs::remove_file(&self.path);
        let mut state = self.store.state();
        state.reserved -= self.reserved;
        state.uploads -= 1;
    }
}

/// A disk that is full is no failure of ours.
fn of_disk(error: io::Error) -> CacheError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            CacheError::Full("so is its disk".to_owned())
        }
        _ => error.into(),
    }
}

fn create(path: &Path) -> Result<File, CacheError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    options.open(path).map_err(of_disk)
}

/// Makes what was renamed in a directory durable.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what somebody before us left half done; how many files there are otherwise, and their
/// bytes.
fn tidy(directory: &Path) -> io::Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for found in fs::read_dir(directory)? {
        let found = found?;
        let name = found.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(UNDER_WAY) {
            fs::remove_file(found.path())?;
        } else if !name.starts_with('.') {
            count += 1;
            bytes += found.metadata()?.len();
        }
    }
    Ok((count, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        settings: Settings,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut settings = Settings::new(path.join("data"), path.join("dir"));
        settings.total_bytes_max = 100;
        settings.object_bytes_max = 60;
        Place {
            directory,
            settings,
        }
    }

    fn give(store: &Arc<Store>, content: &[u8]) -> Result<Sum, CacheError> {
        let mut upload = store.begin(None)?;
        for piece in content.chunks(7) {
            upload.write(piece)?;
        }
        Ok(upload.finish(None)?.0)
    }

    fn entry(sum: &Sum) -> Entry {
        let text = json!({"sha512": sum.to_string()}).to_string();
        let body = json!([text, "c2ln"]).to_string();
        Entry::parse(body.as_bytes(), "", false).unwrap()
    }

    fn key(text: &str) -> Key {
        Key::of_path(text).unwrap()
    }

    #[test]
    fn what_was_kept_is_there_after_a_start_in_the_order_of_its_use() {
        let place = place();
        let store = Store::open(&place.settings).unwrap();
        let [one, two] = [b"1", b"2"].map(|digit| give(&store, &digit.repeat(40)).unwrap());
        assert!(store.add_entry(&key("k"), entry(&one)).unwrap());
        assert!(!store.add_entry(&key("k"), entry(&one)).unwrap());
        // The files tell when they were used.
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = File::open(store.path(&two)).unwrap();
        file.set_times(FileTimes::new().set_accessed(long_ago))
            .unwrap();
        let taken = Store::open(&place.settings);
        assert!(matches!(taken, Err(OpenError::InUse { .. })));
        drop(store);
        fs::write(place.settings.content.join(".upload-9"), "half").unwrap();
        fs::write(place.settings.metadata.join(".upload-entries"), "half").unwrap();
        let store = Store::open(&place.settings).unwrap();
        assert_eq!(store.size(), (2, 80));
        assert_eq!(store.state().keys, 1);
        assert!(!place.settings.content.join(".upload-9").exists());
        assert!(!place.settings.metadata.join(".upload-entries").exists());
        give(&store, b"333333333333333333333333333333").unwrap();
        assert!(store.holds(&one) && !store.holds(&two));
        assert_eq!(store.entries(&key("k")).unwrap(), [entry(&one)]);
        drop(place.directory);
    }

    #[test]
    fn what_has_no_room_leaves_nothing() {
        let mut place = place();
        place.settings.when_full = WhenFull::Refuse;
        let store = Store::open(&place.settings).unwrap();
        let too_large = give(&store, &[0; 61]);
        assert!(matches!(
            too_large,
            Err(CacheError::TooLarge { bytes_max: 60 })
        ));
        assert!(matches!(
            store.begin(Some(61)),
            Err(CacheError::TooLarge { .. })
        ));
        give(&store, &[1; 60]).unwrap();
        assert!(matches!(give(&store, &[2; 60]), Err(CacheError::Full(_))));
        let under_way = store.begin(Some(40)).unwrap();
        assert!(matches!(store.begin(Some(1)), Err(CacheError::Full(_))));
        drop(under_way);
        give(&store, &[3; 40]).unwrap();
        assert_eq!(store.size(), (2, 100));
        let state = store.state();
        assert_eq!((state.reserved, state.uploads), (0, 0));
        // The lock is all there is besides.
        assert_eq!(fs::read_dir(&place.settings.content).unwrap().count(), 3);
    }

    #[test]
    fn so_many_uploads_at_once_and_the_same_content_is_one_object() {
        let mut place = place();
        place.settings.total_bytes_max = 10_000;
        let store = Store::open(&place.settings).unwrap();
        let mut uploads: Vec<Upload> = (0..UPLOADS_MAX)
            .map(|_| store.begin(None).unwrap())
            .collect();
        assert!(matches!(store.begin(None), Err(CacheError::Busy)));
        let mut new = 0;
        for mut upload in uploads.drain(..) {
            upload.write(b"the same").unwrap();
            new += usize::from(upload.finish(None).unwrap().2);
        }
        assert_eq!((new, store.size()), (1, (1, 8)));
        let sum = give(&store, b"the same").unwrap();
        let wrong = store.begin(None).unwrap().finish(Some(sum));
        assert!(matches!(wrong, Err(CacheError::WrongSum { .. })));
        // Removed by hand it is gone, and may come again.
        fs::remove_file(store.path(&sum)).unwrap();
        assert!(matches!(store.find(&sum), Err(CacheError::NoObject(_))));
        assert_eq!(store.size(), (0, 0));
        give(&store, b"the same").unwrap();
        assert_eq!(store.find(&sum).unwrap().bytes, 8);
    }

    #[test]
    fn entries_are_about_what_is_there() {
        let place = place();
        let store = Store::open(&place.settings).unwrap();
        let one = give(&store, &[1; 50]).unwrap();
        for name in ["a", "b"] {
            store.add_entry(&key(name), entry(&one)).unwrap();
        }
        let two = give(&store, &[2; 50]).unwrap();
        store.add_entry(&key("b"), entry(&two)).unwrap();
        give(&store, &[3; 50]).unwrap();
        assert!(!store.holds(&one));
        assert!(matches!(store.entries(&key("a")), Err(CacheError::NoEntry)));
        let refused = store.add_entry(&key("a"), entry(&one));
        assert!(matches!(refused, Err(CacheError::NoContent(_))));
        assert_eq!(store.entries(&key("b")).unwrap(), [entry(&two)]);
        let mut swept = store.sweep().unwrap();
        swept.sort();
        // One of the other's two is gone.
        assert_eq!(swept, ["a", "b"]);
        assert_eq!(store.state().keys, 1);
    }
}
