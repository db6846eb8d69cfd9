//! What is kept in the data directory, for this user alone: the account with its key, the certificate with its key in one file, so that both
//! change at once, and what came of the last orders. Each is replaced as a whole. Before it: [`crate::renewal`]; beside it: whoever reads the
//! certificate.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::schedule::Failed;

/// The directory below the data directory.
const DIRECTORY: &str = "acme";
const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const RECORD: &str = "state.json";
/// Bytes of a file: a chain for a hundred names has some ten thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files(PathBuf);

/// An account at an authority. It holds a key, and has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Account {
    /// The authority's directory.
    pub(crate) directory: String,
    /// Whom the authority writes to.
    pub(crate) email: String,
    pub(crate) credentials: AccountCredentials,
}

/// What came of orders.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The directory of the authority that the certificate is of.
    pub issued_by: Option<String>,
    /// That they fail, if they do.
    pub failed: Option<Failed>,
}

impl Files {
    /// Below this data directory.
    pub fn below(data_dir: &Path) -> Self {
        Self(data_dir.join(DIRECTORY))
    }

    /// The file with the certificate, its chain and its key.
    pub fn certificate(&self) -> PathBuf {
        self.0.join(CERTIFICATE)
    }

    /// What is known of orders; nothing where there is no such file. One that cannot be read is as none: it holds no more than when to try again.
    pub fn record(&self) -> Record {
        self.load(RECORD).ok().flatten().unwrap_or_default()
    }

    pub(crate) fn save_record(&self, record: &Record) -> io::Result<()> {
        self.save(RECORD, &serde_json::to_vec(record)?)
    }

    pub(crate) fn account(&self) -> io::Result<Option<Account>> {
        self.load(ACCOUNT)
    }

    pub(crate) fn save_account(&self, account: &Account) -> io::Result<()> {
        self.save(ACCOUNT, &serde_json::to_vec(account)?)
    }

    /// The certificate, its chain and its key; `None`: there is none.
    pub fn read_certificate(&self) -> io::Result<Option<Vec<u8>>> {
        self.read(CERTIFICATE)
    }

    pub(crate) fn save_certificate(&self, pem: &[u8]) -> io::Result<()> {
        self.save(CERTIFICATE, pem)
    }

    /// Keeps a certificate, its chain and its key that were ordered elsewhere; durable once it has returned.
    pub fn keep_certificate(&self, pem: &[u8]) -> io::Result<()> {
        self.prepare()?;
        self.save_certificate(pem)
    }

    /// Makes the directory where it is missing, and makes it this user's own.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        // Not the error's own text, which quotes.
        serde_json::from_slice(&bytes).map(Some).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is damaged"))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is larger than it may be"));
        }
        Ok(Some(bytes))
    }

    /// Replaces a file as a whole; durable once it has returned.
    fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, beside) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        // What a crash may have left: its mode is not to be trusted.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&beside, &path)) {
            // A full disk is not to be kept full by what could not be finished.
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        File::open(&self.0).and_then(|directory| directory.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_this_users_own_and_are_replaced_as_a_whole() {
        let data_dir = tempfile::tempdir().unwrap();
        let files = Files::below(data_dir.path());
        assert_eq!((files.record(), files.read_certificate().unwrap()), (Record::default(), None));
        // One that somebody has made, with what a crash has left.
        fs::create_dir(data_dir.path().join("acme")).unwrap();
        fs::write(data_dir.path().join("acme/.certificate.pem.new"), "half").unwrap();
        files.prepare().unwrap();
        assert_eq!(mode(&data_dir.path().join("acme")), 0o700);
        for text in ["one", "two"] {
            files.save_certificate(text.as_bytes()).unwrap();
            assert_eq!(files.read_certificate().unwrap().unwrap(), text.as_bytes());
            assert_eq!(mode(&files.certificate()), 0o600);
        }
        let record = Record { issued_by: Some("https://a".to_owned()), failed: None };
        files.save_record(&record).unwrap();
        assert_eq!(files.record(), record);
        assert_eq!(mode(&data_dir.path().join("acme/state.json")), 0o600);
        let names: Vec<_> =
            fs::read_dir(data_dir.path().join("acme")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "nothing is left over: {names:?}");
    }

    #[test]
    fn damaged_files_are_told_or_as_none_and_not_quoted() {
        let data_dir = tempfile::tempdir().unwrap();
        let files = Files::below(data_dir.path());
        files.prepare().unwrap();
        for name in ["account.json", "state.json"] {
            fs::write(data_dir.path().join("acme").join(name), "{\"hush\": ").unwrap();
        }
        assert_eq!(files.record(), Record::default());
        let said = files.account().err().unwrap().to_string();
        assert!(!said.contains("hush"), "{said}");
        fs::write(files.certificate(), vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(files.read_certificate().unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
