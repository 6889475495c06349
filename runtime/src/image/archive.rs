//! Image archives as sets of named members: a directory, or a tar file read by offset. Knows no image format.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Component, Path, PathBuf},
};

use super::{
    error::ImageError,
    limits::ARCHIVE_MEMBERS_MAX,
    tarball::{Kind, TarReader},
};

/// Members by path.
pub enum Archive {
    Directory(PathBuf),
    Tar(TarIndex),
}

/// Where the members of a tar file are.
pub struct TarIndex {
    file: File,
    members: HashMap<PathBuf, Member>,
    entries: u64,
    /// More members than any image archive has.
    overflowed: bool,
}

enum Member {
    File { offset: u64, bytes: u64 },
    Link(PathBuf),
}

/// Links from member to member that are followed.
const LINKS_MAX: usize = 8;

impl TarIndex {
    /// Reads all headers, to the end mark.
    pub fn read(file: File) -> Result<Self, ImageError> {
        let length = file.metadata().map_err(ImageError::io("reading the archive"))?.len();
        let handle = file.try_clone().map_err(ImageError::io("reading the archive"))?;
        let mut reader = TarReader::new(BufReader::with_capacity(16 << 10, handle));
        let mut index = Self { file, members: HashMap::new(), entries: 0, overflowed: false };
        while let Some(entry) = reader.next_entry()? {
            index.entries += 1;
            if entry.data_offset + entry.data_bytes > length {
                return Err(ImageError::Truncated(format!("it has {length} bytes and should have more")));
            }
            let path = plain(Path::new(std::ffi::OsStr::from_bytes(&entry.path)));
            let link = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
            let member = match entry.kind {
                Kind::File => Member::File { offset: entry.data_offset, bytes: entry.data_bytes },
                Kind::HardLink => Member::Link(plain(link)),
                Kind::Symlink => Member::Link(plain(&path.parent().unwrap_or(Path::new("")).join(link))),
                Kind::Directory | Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => continue,
            };
            // A root filesystem has any number of files; it is not asked for members.
            index.overflowed |= index.members.len() >= ARCHIVE_MEMBERS_MAX;
            if !index.overflowed {
                index.members.insert(path, member);
            }
        }
        Ok(index)
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn find(&self, path: &Path) -> Option<(u64, u64)> {
        let mut path = path;
        for _ in 0..LINKS_MAX {
            match self.members.get(path)? {
                Member::File { offset, bytes } => return Some((*offset, *bytes)),
                Member::Link(target) => path = target,
            }
        }
        None
    }

    /// The archive itself, from its start.
    pub fn whole(&self) -> Result<impl Read + '_, ImageError> {
        let bytes = self.file.metadata().map_err(ImageError::io("reading the archive"))?.len();
        Ok(Window { file: &self.file, offset: 0, left: bytes })
    }
}

impl Archive {
    /// The member's bytes; `None` where there is no such member.
    pub fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, ImageError> {
        match self {
            Self::Directory(root) => match File::open(root.join(plain(Path::new(path)))) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(ImageError::Io { what: format!("opening {path}"), source: error }),
            },
            Self::Tar(index) => Ok(index
                .find(&plain(Path::new(path)))
                .map(|(offset, bytes)| Box::new(Window { file: &index.file, offset, left: bytes }) as Box<dyn Read>)),
        }
    }

    /// A small member as a whole.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(reader) = self.open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        reader.take(limit + 1).read_to_end(&mut content).map_err(ImageError::io(format!("reading {path}")))?;
        if content.len() as u64 > limit {
            return Err(ImageError::TooLarge { what: path.to_owned(), limit: format!("{limit} bytes") });
        }
        Ok(Some(content))
    }
}

/// A part of a file, read by offset.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// The path without `.`, `..` and a leading `/`, inside the archive whatever it says.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}
