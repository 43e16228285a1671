// SPDX-License-Identifier: Apache-2.0
//! The image of one static program: the least that a container needs around it.

use super::{Config, Error, Image, ImageName, Layer};
use crate::tree::{Content, Inode, Kind, Meta, Origin, Tree, TreePath};

/// Accounts that programs look up: who they are, and who owns nothing.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Where Go's and OpenSSL's programs look for the certificate authorities that they trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A program that needs no other file to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it lies in the image: `/usr/local/bin/kube-apiserver`.
    pub path: TreePath,
    pub content: Content,
    /// Trusted authorities, for programs that call servers of others.
    pub certificates: Option<Content>,
    /// Owner and group of the process.
    pub user: (u32, u32),
    /// Time of every file, and of the image.
    pub epoch: u32,
}

impl Program {
    /// An image of one plain layer that starts the program.
    ///
    /// # Errors
    /// The program cannot be read, or lies where one of the other files is.
    pub fn image(&self, name: ImageName) -> Result<Image, Error> {
        self.image_of(name, Layer::plain(&self.tree()?)?)
    }

    /// The same with a layer that zstd compresses at `level`, held in memory.
    ///
    /// # Errors
    /// As for [`Program::image`].
    pub fn compressed_image(&self, name: ImageName, level: i32) -> Result<Image, Error> {
        self.image_of(name, Layer::compressed(&self.tree()?, level)?)
    }

    fn image_of(&self, name: ImageName, layer: Layer) -> Result<Image, Error> {
        let (uid, gid) = self.user;
        let config = Config::new(&self.path).user(uid, gid).created(self.epoch);
        Image::new(name, config, vec![layer])
    }

    fn tree(&self) -> Result<Tree, Error> {
        let mut tree = Tree::new(self.epoch);
        self.put(&mut tree, &TreePath::literal("/tmp"), 0o1777, Kind::Directory)?;
        let text = |text: &'static str| Kind::File(Content::bytes(text.as_bytes()));
        self.put(&mut tree, &TreePath::literal("/etc/group"), 0o644, text(GROUP))?;
        self.put(&mut tree, &TreePath::literal("/etc/passwd"), 0o644, text(PASSWD))?;
        if let Some(certificates) = &self.certificates {
            let path = TreePath::literal(CERTIFICATES);
            self.put(&mut tree, &path, 0o644, Kind::File(certificates.clone()))?;
        }
        self.put(&mut tree, &self.path, 0o755, Kind::File(self.content.clone()))?;
        Ok(tree)
    }

    fn put(&self, tree: &mut Tree, path: &TreePath, mode: u16, kind: Kind) -> Result<(), Error> {
        let refused = |reason: String| Error::Place { path: path.to_string(), reason };
        if tree.get(path).is_some() {
            return Err(refused("the image has something else there".to_owned()));
        }
        let parent = path.parent().expect("the root is always there");
        let folder = Meta::new(0o755, self.epoch);
        tree.make_dirs(&parent, &folder, &ORIGIN).map_err(|error| refused(error.to_string()))?;
        let inode = Inode { meta: Meta::new(mode, self.epoch), kind, origin: ORIGIN };
        tree.insert(path.clone(), inode).map(drop).map_err(|error| refused(error.to_string()))
    }
}

const ORIGIN: Origin = Origin::Kiln("container image");
