//! Which pods may use an image that was pulled for another: those whose pull secrets got it, or hold the same credentials. What was
//! had without credentials, and what was imported, is everybody's. Kept on disk, for images outlive the agent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use kontiki_runtime::image::{Digest, ImageName};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    containers::{Credentials, Image},
    keyring,
};

/// An image that was pulled: by repository, who may use it.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Whoever reads the file shall not find out passwords by trying.
    salt: String,
    repositories: BTreeMap<String, Access>,
}

#[derive(Default, Serialize, Deserialize)]
struct Access {
    /// It was had without credentials.
    everybody: bool,
    /// Digests of the credentials that it was had with, by the uid of their secret.
    secrets: BTreeMap<String, String>,
}

pub struct PulledImages {
    records: PathBuf,
    /// A file for each name that is being pulled: an image that is there when the agent begins anew may be one of these.
    intents: PathBuf,
    /// Held while files are read and written, too.
    pulls: Mutex<Pulls>,
}

/// By the names of their files.
#[derive(Default)]
struct Pulls {
    under_way: HashMap<String, usize>,
    /// Nobody has seen how they ended.
    lost: HashSet<String>,
}

/// A pull under way. One that is dropped is lost.
pub struct Pull<'a> {
    images: &'a PulledImages,
    name: ImageName,
    ended: bool,
}

impl PulledImages {
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let (records, intents) = (state_dir.join("pulled"), state_dir.join("pulls"));
        fs::create_dir_all(&records)?;
        fs::create_dir_all(&intents)?;
        let lost = fs::read_dir(&intents)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let lost = lost.collect::<io::Result<_>>()?;
        Ok(PulledImages { records, intents, pulls: Mutex::new(Pulls { lost, ..Pulls::default() }) })
    }

    /// Whether a pod with these credentials may use an image that is here without asking its registry.
    pub fn may_use(&self, image: &Image, reference: &str, credentials: &[Credentials]) -> bool {
        let Ok(name) = ImageName::parse(reference) else { return false };
        let _held = self.lock();
        match self.read(&image.id) {
            Ok(Some(record)) => record.lets(&name, credentials),
            Ok(None) => !self.intents.join(file_name(&name)).exists(),
            Err(error) => {
                warn!(image = image.id, %error, "cannot read who may use the image; it is pulled again");
                false
            }
        }
    }

    /// Before a pull, so that its image is not taken for an imported one whatever happens.
    pub fn begin(&self, reference: &str) -> io::Result<Option<Pull<'_>>> {
        // What is no name is told by whoever pulls.
        let Ok(name) = ImageName::parse(reference) else { return Ok(None) };
        let mut pulls = self.lock();
        let file = file_name(&name);
        replace(&self.intents, &file, name.canonical().as_bytes())?;
        *pulls.under_way.entry(file).or_default() += 1;
        Ok(Some(Pull { images: self, name, ended: false }))
    }

    /// Forgets images that are gone: none of `present`, and not pulled since that was looked at.
    pub fn retain(&self, present: &HashSet<String>, since: SystemTime) -> io::Result<()> {
        let _held = self.lock();
        let present: HashSet<&str> = present.iter().map(|id| hex(id)).collect();
        for entry in fs::read_dir(&self.records)? {
            let entry = entry?;
            let gone = !present.contains(&*entry.file_name().to_string_lossy());
            if gone && entry.metadata()?.modified()? < since {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn read(&self, id: &str) -> io::Result<Option<Record>> {
        match fs::read(self.records.join(hex(id))) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn note(&self, id: &str, name: &ImageName, by: Option<&Credentials>) -> io::Result<()> {
        // One that cannot be read is written anew: it let nobody in.
        let mut record = self.read(id).ok().flatten().unwrap_or_else(Record::new);
        let digest = by.map(|one| (one.secret.clone(), record.digest(one)));
        let access = record.repositories.entry(name.repository()).or_default();
        match digest {
            Some((secret, digest)) => _ = access.secrets.insert(secret, digest),
            None => access.everybody = true,
        }
        replace(&self.records, hex(id), &serde_json::to_vec(&record)?)
    }

    fn lock(&self) -> MutexGuard<'_, Pulls> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn new() -> Self {
        Record { salt: format!("{:032x}", rand::random::<u128>()), repositories: BTreeMap::new() }
    }

    fn lets(&self, name: &ImageName, credentials: &[Credentials]) -> bool {
        let Some(access) = self.repositories.get(&name.repository()) else { return false };
        let known = |one: &Credentials| {
            // A secret that got it once may hold another password by now.
            access.secrets.contains_key(&one.secret) || access.secrets.values().any(|had| *had == self.digest(one))
        };
        access.everybody || keyring::for_image(credentials, name).into_iter().any(known)
    }

    fn digest(&self, one: &Credentials) -> String {
        let (user, password) = (&one.username, &one.password);
        Digest::of(format!("{} {} {user} {password}", self.salt, user.len()).as_bytes()).to_string()
    }
}

impl Pull<'_> {
    /// It brought this image, with these credentials.
    pub fn done(mut self, id: &str, by: Option<&Credentials>) -> io::Result<()> {
        let mut pulls = self.images.lock();
        self.images.note(id, &self.name, by)?;
        self.ended = true;
        let file = file_name(&self.name);
        pulls.lost.remove(&file);
        pulls.end(&self.images.intents, &file)
    }

    /// It brought nothing.
    pub fn failed(mut self) -> io::Result<()> {
        self.ended = true;
        self.images.lock().end(&self.images.intents, &file_name(&self.name))
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let (mut pulls, file) = (self.images.lock(), file_name(&self.name));
            pulls.leave(&file);
            pulls.lost.insert(file);
        }
    }
}

impl Pulls {
    /// Says whether it was the last of its name.
    fn leave(&mut self, file: &str) -> bool {
        let left = self.under_way.get_mut(file).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            self.under_way.remove(file);
        }
        left == 0
    }

    fn end(&mut self, intents: &Path, file: &str) -> io::Result<()> {
        if self.leave(file) && !self.lost.contains(file) {
            fs::remove_file(intents.join(file))?;
        }
        Ok(())
    }
}

fn hex(id: &str) -> &str {
    id.rsplit_once(':').map_or(id, |(_, hex)| hex)
}

fn file_name(name: &ImageName) -> String {
    Digest::of(name.canonical().as_bytes()).hex().to_owned()
}

/// Whole or not at all, and for good.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // Names of files in these folders are hexadecimal, and written by one at a time.
    let new = folder.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn credentials(secret: &str, password: &str) -> Vec<Credentials> {
        let (place, username) = ("example.com".to_owned(), "me".to_owned());
        vec![Credentials { secret: secret.into(), place, username, password: password.into() }]
    }

    fn image(id: &str) -> Image {
        Image { id: format!("sha256:{id}"), ..Image::default() }
    }

    fn pulled(images: &PulledImages, name: &str, id: &str, by: &[Credentials]) {
        images.begin(name).unwrap().unwrap().done(&image(id).id, by.first()).unwrap();
    }

    #[test]
    fn whoever_could_pull_an_image_may_use_it() {
        let dir = tempfile::tempdir().unwrap();
        let images = PulledImages::open(dir.path()).unwrap();
        let own = credentials("uid-1", "secret");
        pulled(&images, "example.com/a:1", "aa", &own);
        pulled(&images, "example.com/free:1", "bb", &[]);
        let table: [(&str, &str, Vec<Credentials>, bool); 9] = [
            ("aa", "example.com/a:1", own.clone(), true),
            ("aa", "example.com/a:2", own.clone(), true),
            ("aa", "example.com/a:1", vec![], false),
            // Another secret with what the first one held; the first one with another password.
            ("aa", "example.com/a:1", credentials("uid-2", "secret"), true),
            ("aa", "example.com/a:1", credentials("uid-1", "new"), true),
            ("aa", "example.com/a:1", credentials("uid-2", "guess"), false),
            // The same image by another name, which it was not pulled by.
            ("aa", "sha256:aa", own, false),
            ("bb", "example.com/free:1", vec![], true),
            ("cc", "example.com/imported:1", vec![], true),
        ];
        for (id, name, with, expected) in &table {
            assert_eq!(images.may_use(&image(id), name, with), *expected, "{name} with {} secrets", with.len());
        }
        drop(images);
        let images = PulledImages::open(dir.path()).unwrap();
        for (id, name, with, expected) in table {
            assert_eq!(images.may_use(&image(id), name, &with), expected, "after a restart: {name}");
        }
        let text = fs::read_to_string(dir.path().join("pulled/aa")).unwrap();
        assert!(text.contains("uid-1") && !text.contains("secret\""), "{text}");
    }

    #[test]
    fn an_image_of_a_pull_that_was_cut_off_is_not_taken_for_an_imported_one() {
        let dir = tempfile::tempdir().unwrap();
        let images = PulledImages::open(dir.path()).unwrap();
        let may = |images: &PulledImages| images.may_use(&image("aa"), "example.com/a:1", &[]);
        let begin = |images: &PulledImages| drop(images.begin("example.com/a:1").unwrap().unwrap());
        // One that failed brought nothing: what is there came from elsewhere.
        images.begin("example.com/a:1").unwrap().unwrap().failed().unwrap();
        assert!(may(&images));
        let (one, other) = (images.begin("example.com/a:1").unwrap(), images.begin("example.com/a:1").unwrap());
        one.unwrap().failed().unwrap();
        assert!(!may(&images), "another one is under way");
        other.unwrap().failed().unwrap();
        assert!(may(&images));
        begin(&images);
        assert!(!may(&images));
        drop(images);
        let images = PulledImages::open(dir.path()).unwrap();
        assert!(!may(&images));
        images.begin("example.com/a:1").unwrap().unwrap().failed().unwrap();
        assert!(!may(&images), "the one before may have brought it");
        pulled(&images, "example.com/a:1", "aa", &[]);
        assert!(may(&images));
    }

    #[test]
    fn images_that_are_gone_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let images = PulledImages::open(dir.path()).unwrap();
        let before = SystemTime::UNIX_EPOCH;
        for id in ["aa", "bb"] {
            pulled(&images, "example.com/a:1", id, &credentials("uid-1", "secret"));
        }
        let (present, after) =
            (HashSet::from([image("aa").id]), SystemTime::now() + std::time::Duration::from_secs(60));
        images.retain(&present, before).unwrap();
        assert!(!images.may_use(&image("bb"), "example.com/a:1", &[]), "pulled since");
        images.retain(&present, after).unwrap();
        assert!(images.may_use(&image("bb"), "example.com/a:1", &[]), "another one by this time");
        assert!(!images.may_use(&image("aa"), "example.com/a:1", &[]));
    }
}
