//! A disk that can be filled, and that can break: an ext4 file system in a file, mounted where only this
//! process and its children see it. After [`Disk::breaks`] every write fails, and what was not synced is
//! gone at [`Disk::repair`], as after a power cut.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dormouse_interop::process;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Length of the file system; its file has holes where nothing was written.
const DISK_BYTES: u64 = 4 << 30;
/// Smallest piece of room that is taken away.
const PIECE_BYTES: u64 = 4 << 10;

/// The file system.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes it and mounts it below `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let disk = Self { image: directory.join("disk.img"), at: directory.join("disk") };
        File::create(&disk.image)?.set_len(DISK_BYTES)?;
        std::fs::create_dir(&disk.at)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Takes away the room that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let ballast = File::options().create(true).append(true).open(self.ballast())?;
        let mut length = ballast.metadata()?.len();
        let mut piece = DISK_BYTES;
        while piece >= PIECE_BYTES {
            let free = statvfs(&self.at)?;
            piece = piece.min((free.f_bavail * free.f_frsize).max(PIECE_BYTES));
            match fallocate(&ballast, FallocateFlags::empty(), length, piece) {
                Ok(()) => length += piece,
                Err(Errno::NOSPC) => piece /= 2,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn free(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("cannot free the disk")
    }

    /// From now on nothing can be written, also to files that are open.
    pub(crate) fn breaks(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at))?;
        let probe = File::create(self.at.join("probe"));
        match probe.map_err(|error| error.raw_os_error()) {
            Err(Some(code)) if code == Errno::ROFS.raw_os_error() => Ok(()),
            other => bail!("the disk was to be read-only, but a new file gave {other:?}"),
        }
    }

    /// Mounts it anew, writable. Nobody may have files open.
    pub(crate) fn repair(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        // It also clears the mark that the file system has an error.
        let mut check = Command::new("e2fsck");
        let status =
            check.args(["-f", "-p"]).arg(&self.image).output().map_err(|error| missing(&error))?;
        // 1: errors were corrected.
        if !matches!(status.status.code(), Some(0 | 1)) {
            bail!("e2fsck cannot repair {}: {status:?}", self.image.display());
        }
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
            .context("a loop device is needed for a disk that can be filled and broken")
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The mount would end with this process at the latest; what is worth keeping has been copied.
        let _ = Command::new("umount").arg(&self.at).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<()> {
    process::run(command, INSTALL).map(drop)
}

fn missing(error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot start e2fsck: {error}; install {INSTALL}")
}

const INSTALL: &str = "e2fsprogs and mount (apt-get install e2fsprogs mount)";
