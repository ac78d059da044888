//! An SSH agent that holds one key and writes down what it is asked.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

const IDENTITIES_ANSWER: u8 = 12;
const SIGN_RESPONSE: u8 = 14;
const SUCCESS: u8 = 6;

/// An agent that listens until the test ends.
#[derive(Debug)]
pub struct FakeAgent {
    asked: Arc<Mutex<Vec<u8>>>,
}

impl FakeAgent {
    /// The comment of its key.
    pub const COMMENT: &'static str = "fake-key";
    /// What it signs everything with.
    pub const SIGNATURE: &'static str = "fake-signature";

    /// Listens at `path`.
    ///
    /// # Panics
    /// When there is something already.
    #[must_use]
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("the agent's socket can be made");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let agent = Self { asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for program in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || serve(program, &asked));
            }
        });
        agent
    }

    /// The types of all requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<u8> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one program until it hangs up.
fn serve(mut program: UnixStream, asked: &Mutex<Vec<u8>>) {
    let mut length = [0; 4];
    while program.read_exact(&mut length).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if program.read_exact(&mut request).is_err() {
            return;
        }
        let kind = request.first().copied().unwrap_or_default();
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(kind);
        if program.write_all(&string(&answer(kind))).is_err() {
            return;
        }
    }
}

fn answer(kind: u8) -> Vec<u8> {
    match kind {
        11 => {
            let key = [string(b"ssh-ed25519"), string(&[7; 32])].concat();
            [&[IDENTITIES_ANSWER, 0, 0, 0, 1][..], &string(&key), &string(FakeAgent::COMMENT.as_bytes())]
                .concat()
        }
        13 => {
            let signature = [string(b"ssh-ed25519"), string(FakeAgent::SIGNATURE.as_bytes())].concat();
            [&[SIGN_RESPONSE][..], &string(&signature)].concat()
        }
        _ => vec![SUCCESS],
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}
