//! Prints what is wrong with a command line that was not understood, and the help that was asked for.

use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::failure::Failure;

/// Prints what clap has to say. Returns what the process exits with.
pub(super) fn tell(mut error: clap::Error, words: &[OsString]) -> u8 {
    if !error.use_stderr() {
        // Help that was asked for.
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        let Err(failure) = printed.map_err(Failure::from) else { return 0 };
        let _ = failure.print(wants_json(words), &mut std::io::stderr().lock());
        return failure.exit_code();
    }
    hide_values(&mut error);
    if wants_json(words) {
        let failure = Failure::Usage(sentence(&error));
        let _ = failure.print(true, &mut std::io::stderr().lock());
        return failure.exit_code();
    }
    // With standard error gone too, the exit code has to say it alone.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(1)
}

/// Whether JSON was asked for on a command line that nobody could read.
fn wants_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// Takes out of an error what may be a secret that got into a wrong place: a tokenId after a flag that takes none, a
/// password that a shell cut at its space. Names of flags stay, and values that a flag was there for: no flag that
/// takes a secret judges it.
fn hide_values(error: &mut clap::Error) {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::TooManyValues => ContextKind::InvalidValue,
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            ContextKind::InvalidSubcommand
        }
        _ => return,
    };
    if let Some(ContextValue::String(said)) = error.get(kind)
        && !(kind == ContextKind::InvalidArg && said.starts_with('-'))
    {
        error.insert(kind, ContextValue::String("…".to_owned()));
        error.remove(ContextKind::Suggested);
    }
}

/// What clap says first, without its label, hints and usage.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default().trim();
    let first = first.strip_prefix("error:").unwrap_or(first);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}
