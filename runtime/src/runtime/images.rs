//! Images that containers of a sandbox see as volumes: each is mounted once, read-only, and stays until the sandbox goes.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Runtime, cleanup, provision,
    record::{check_id, make_folder, read_json, write_json},
};
use crate::{error::RuntimeError, rootfs};

/// What is remembered beside such a mount, and before it is made: the image must not be removed.
#[derive(Serialize, Deserialize)]
struct Mounted {
    image: String,
}

impl Runtime {
    /// Where an image is mounted under this name in the sandbox, if one is.
    pub async fn mounted_image(&self, sandbox: &str, name: &str) -> Result<Option<PathBuf>, RuntimeError> {
        check_id(name)?;
        let folder = self.0.living(sandbox)?.places.image(name);
        Ok(rootfs::is_mounted(&folder).then(|| rootfs::root(&folder)))
    }

    /// Mounts an image under this name in the sandbox, and says where. What is mounted there already stays.
    pub async fn mount_image(&self, sandbox: &str, name: &str, image: &str) -> Result<PathBuf, RuntimeError> {
        check_id(name)?;
        let gate = self.0.gate(sandbox);
        let _held = gate.lock().await;
        let folder = self.0.living(sandbox)?.places.image(name);
        if rootfs::is_mounted(&folder) {
            return Ok(rootfs::root(&folder));
        }
        make_folder(&folder)?;
        write_json(&record(&folder), &Mounted { image: image.to_owned() })?;
        let info = provision::image(&self.0.images, image).await?;
        provision::mount_read_only(self.0.images.layer_paths(&info), &folder).await
    }

    /// Ids of the images that sandboxes have mounted.
    pub async fn mounted_images(&self) -> Result<HashSet<String>, RuntimeError> {
        let known: Vec<PathBuf> = self.0.sandboxes().values().map(|sandbox| sandbox.places.images()).collect();
        let mut found = HashSet::new();
        for images in known {
            for name in cleanup::folders(&images)? {
                found.extend(read_json::<Mounted>(&record(&images.join(name)))?.map(|mounted| mounted.image));
            }
        }
        Ok(found)
    }
}

fn record(folder: &Path) -> PathBuf {
    folder.join("image.json")
}
