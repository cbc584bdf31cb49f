//! `volkeep export`: writes a snapshot as a plain archive that needs no volkeep to be read.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::exit::{Exit, Failure};

/// Write a snapshot as a plain archive
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// `latest`, or the beginning of a snapshot's name
    pub snapshot: String,
    /// The archive to make: its name ends in .tar, .tar.gz or .tar.zst. `-` is stdout and needs --format
    pub file: PathBuf,
    /// The format, whatever the name says
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[value(name = "tar")]
    Tar,
    #[value(name = "tar.gz")]
    TarGz,
    #[value(name = "tar.zst")]
    TarZst,
}

impl Arguments {
    pub fn is_stdout(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The format asked for, or that of the file's name.
    pub fn archive_format(&self) -> Result<Format, Failure> {
        let name = self.file.to_string_lossy();
        let by_name = [
            (".tar", Format::Tar),
            (".tar.gz", Format::TarGz),
            (".tgz", Format::TarGz),
            (".tar.zst", Format::TarZst),
        ];
        let named = by_name.iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| *format);
        self.format.or(named).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("the name `{name}` does not say which archive to make"))
                .hint("end it in .tar, .tar.gz or .tar.zst, or use --format")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(file: &str, format: Option<Format>) -> Result<Format, Exit> {
        let arguments = Arguments { snapshot: "latest".into(), file: file.into(), format };
        arguments.archive_format().map_err(|failure| failure.exit)
    }

    #[test]
    fn the_name_or_the_flag_says_the_format() {
        assert_eq!(format("x.tar", None), Ok(Format::Tar));
        assert_eq!(format("x.tar.gz", None), Ok(Format::TarGz));
        assert_eq!(format("x.tar.zst", None), Ok(Format::TarZst));
        assert_eq!(format("x.tar", Some(Format::TarZst)), Ok(Format::TarZst));
        assert_eq!(format("-", Some(Format::Tar)), Ok(Format::Tar));
        assert_eq!(format("-", None), Err(Exit::Usage));
        assert_eq!(format("x.zip", None), Err(Exit::Usage));
    }
}
