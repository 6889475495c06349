//! The mounts that libcontainer gets to see. It reads the table of them as text and gives up on a name that is none, which
//! whoever may rename a folder in a volume can make: of a pod's own volume that is the pod's affair, of any other's nobody's.

use std::{collections::HashSet, fs, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use oci_spec::runtime::Spec;

use crate::{
    error::{Failure, FailureKind},
    mountinfo,
};

/// Takes mounts with such names away, in a namespace that only this helper has. Costs nothing where there are none.
pub fn hide_unreadable(bundle: &Path) -> Result<(), Failure> {
    let failure = |step: &str, error: &dyn std::error::Error| {
        Failure::new(FailureKind::Other, format!("cannot {step} beside mounts whose names are no UTF-8: {error}"))
    };
    let table = fs::read(mountinfo::FILE).map_err(|error| failure("read the table of mounts", &error))?;
    if std::str::from_utf8(&table).is_ok() {
        return Ok(());
    }
    let spec = Spec::load(bundle.join("config.json")).map_err(|error| failure("read the container's spec", &error))?;
    let own: HashSet<&Path> = spec.mounts().iter().flatten().filter_map(|mount| mount.source().as_deref()).collect();
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failure("have mounts of one's own", &error))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| failure("have mounts of one's own", &error))?;
    for line in table.split(|&byte| byte == b'\n').filter(|line| std::str::from_utf8(line).is_err()) {
        for entry in mountinfo::parse(line) {
            if own.contains(entry.mount_point.as_path()) {
                let told = "a folder of one of the pod's volumes has a name that is no UTF-8 and cannot be mounted";
                return Err(Failure::new(FailureKind::BadMount, told.to_owned()));
            }
            umount2(&entry.mount_point, MntFlags::MNT_DETACH).map_err(|error| failure("hide a mount", &error))?;
        }
    }
    Ok(())
}
