//! `volkeep export`: writes a snapshot as a plain archive that needs no volkeep to be read.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::archive::Codec;
use crate::base::fs::{sync_parent, temporary_beside};
use crate::cli::arguments;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::warn_of_problems;
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::{OpsError, Scope};

/// The defaults of the tools themselves.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

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

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let codec = match arguments.archive_format()? {
        Format::Tar => Codec::Tar,
        Format::TarGz => Codec::TarGz(GZIP_LEVEL),
        Format::TarZst => Codec::TarZstd(ZSTD_LEVEL),
    };
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let skipped = match arguments.is_stdout() {
        true => to_stream(&scope, arguments, codec, context.out())?,
        false => {
            let skipped =
                context.with_progress("exporting", &scope.progress, || to_file(&scope, arguments, codec))?;
            context.print(&format!("{} is written\n", arguments.file.display()))?;
            skipped
        }
    };
    warn_of_problems(&skipped, skipped.len() as u64);
    Ok(if skipped.is_empty() { Exit::Done } else { Exit::Partial })
}

/// Under another name until it is whole: a cut archive must not pass for one.
fn to_file(scope: &Scope, arguments: &Arguments, codec: Codec) -> Result<Vec<String>, Failure> {
    let path = &arguments.file;
    let temporary = temporary_beside(path).map_err(OpsError::io("name", path))?;
    let file = File::create_new(&temporary).map_err(OpsError::io("create", &temporary))?;
    let written = to_stream(scope, arguments, codec, &file).and_then(|skipped| {
        file.sync_all().map_err(OpsError::io("sync", &temporary))?;
        std::fs::rename(&temporary, path).map_err(OpsError::io("rename to", path))?;
        sync_parent(path).map_err(OpsError::io("sync", path))?;
        Ok(skipped)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn to_stream(
    scope: &Scope,
    arguments: &Arguments,
    codec: Codec,
    output: impl Write,
) -> Result<Vec<String>, Failure> {
    let wanted = arguments::wanted(&arguments.snapshot);
    let (_, report) = ops::export::run(scope, &wanted, codec, output)?;
    Ok(report.skipped.iter().map(|path| format!("{path:?}: archives hold no sockets")).collect())
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
