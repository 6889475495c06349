//! `hostPath` volumes: what has to be there, and what is made when it is not.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

pub fn check(path: &Path, type_: &str) -> Result<(), String> {
    let shown = path.display();
    let metadata = fs::metadata(path).ok();
    let is = |what: &str, holds: fn(&fs::FileType) -> bool| match &metadata {
        Some(metadata) if holds(&metadata.file_type()) => Ok(()),
        Some(_) | None => Err(format!("hostPath type check failed: {shown} is not a {what}")),
    };
    match type_ {
        "" => Ok(()),
        "DirectoryOrCreate" if metadata.is_none() => {
            let made =
                fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
            made.map_err(|error| format!("making {shown}: {error}"))
        }
        "Directory" | "DirectoryOrCreate" => is("directory", fs::FileType::is_dir),
        "FileOrCreate" if metadata.is_none() => {
            let made = fs::File::create(path).and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644)));
            made.map_err(|error| format!("making {shown}: {error} (its folder must exist)"))
        }
        "File" | "FileOrCreate" => is("file", fs::FileType::is_file),
        "Socket" => is("socket", |kind| kind.is_socket()),
        "CharDevice" => is("character device", |kind| kind.is_char_device()),
        "BlockDevice" => is("block device", |kind| kind.is_block_device()),
        other => Err(format!("hostPath type {other:?} is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_checked_or_made() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("file"), "").unwrap();
        for (name, type_, good) in [
            ("file", "File", true),
            ("file", "Directory", false),
            ("none", "Directory", false),
            ("none", "", true),
            ("made/deep", "DirectoryOrCreate", true),
            ("made", "Directory", true),
            ("new", "FileOrCreate", true),
            ("new", "File", true),
            ("no/folder", "FileOrCreate", false),
            ("file", "Socket", false),
            ("file", "Nonsense", false),
        ] {
            assert_eq!(check(&at(name), type_).is_ok(), good, "{name} {type_}");
        }
        assert!(check(Path::new("/dev/null"), "CharDevice").is_ok());
    }
}
