//! `respoked migrate-store`: moves an installation from a data folder to a PostgreSQL database, or back.
//!
//! Killed at any moment, it leaves at most one of the two that a server takes. The same command done again finishes it.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::clock::{Clock as _, SystemClock};
use respoke_core::ports::StoreError;
use respoke_store::{
    Arrival, Departure, Dsn, Occasion, Stage, Stopped, Transferred, arrival_at, arrive, move_to_server,
    take_back_to_file, take_back_to_server,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::failure::Failure;
use super::super::output::Output;
use super::progress::{Told, transfer_runtime};
use super::unfinished::{Present, Unfinished, remove_log};
use crate::config::{Config, DatabasePromotions, DatabaseUrl};
use crate::data_folder::{self, DATABASE};
use crate::{database, trouble};

/// What the place of a data folder begins with.
const SQLITE: &[u8] = b"sqlite:";

/// `respoked migrate-store`.
#[derive(Debug, Args)]
#[command(
    override_usage = "respoked migrate-store [OPTIONS] --from <PLACE> --to <PLACE>\n       respoked migrate-store [OPTIONS] --take-back <PLACE>"
)]
pub(in crate::cli) struct MigrateStore {
    /// Where the installation is: `sqlite:FOLDER`, its data folder, or the address of a PostgreSQL database, without a password.
    #[arg(long, value_name = "PLACE", required_unless_present = "take_back", requires = "to")]
    from: Option<OsString>,
    /// Where it is to be, in the same way. Nothing may be there.
    #[arg(long, value_name = "PLACE", required_unless_present = "take_back", requires = "from")]
    to: Option<OsString>,
    /// Take back that the installation here was moved elsewhere, and go on without what was done there since.
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["from", "to"])]
    take_back: Option<OsString>,
    /// TOML file with the server's settings, as `RESPOKED_CONFIG` names it too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One of the two sides.
enum Place {
    Folder(PathBuf),
    /// With what is done about promotions there.
    Postgres(Box<Dsn>, DatabasePromotions),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "sqlite:{}", folder.display()),
            Self::Postgres(address, _) => address.fmt(f),
        }
    }
}

impl MigrateStore {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let place = |text: &Option<OsString>| text.as_ref().map(|text| self.place(text)).transpose();
        if let Some(place) = place(&self.take_back)? {
            return take_back(&place, out);
        }
        let (Some(from), Some(to)) = (place(&self.from)?, place(&self.to)?) else {
            return Err(Failure::Usage("both places are needed, --from and --to".into()));
        };
        let occasion = Occasion { at: SystemClock.now(), id: Uuid::from_bytes((&SystemChance as &dyn Chance).bytes()) };
        let moved = match (&from, &to) {
            (Place::Folder(folder), Place::Postgres(address, _)) => to_server(folder, address, [&from, &to], occasion)?,
            (Place::Postgres(address, promotions), Place::Folder(folder)) => {
                to_folder((address, *promotions), folder, [&from, &to], occasion)?
            }
            _ => {
                return Err(Failure::Usage(
                    "one place is sqlite:FOLDER, and the other the address of a PostgreSQL database".into(),
                ));
            }
        };
        report(moved.as_ref(), &from, &to, out)
    }

    fn place(&self, text: &OsString) -> Result<Place, Failure> {
        if let Some(folder) = text.as_bytes().strip_prefix(SQLITE) {
            let folder = PathBuf::from(OsString::from_vec(folder.to_vec()));
            if folder.as_os_str().is_empty() {
                return Err(Failure::Usage("sqlite: is followed by the data folder".into()));
            }
            // In the mark it is to be found from anywhere.
            return Ok(Place::Folder(std::path::absolute(&folder).unwrap_or(folder)));
        }
        if !text.as_bytes().starts_with(b"postgres") {
            return Err(Failure::Usage("a place begins with sqlite: or postgres://".into()));
        }
        let flags = [("database", text.clone())];
        let config = Config::load(self.config.as_deref(), &flags)?;
        match config.database {
            Some(DatabaseUrl(address)) => Ok(Place::Postgres(Box::new(address), config.database_promotions)),
            None => Err(Failure::Usage("the address of a PostgreSQL database is missing".into())),
        }
    }
}

fn to_server(
    folder: &Path,
    address: &Dsn,
    [from, to]: [&Place; 2],
    occasion: Occasion,
) -> Result<Option<Transferred>, Failure> {
    let lock = data_folder::lock(folder)?;
    data_folder::check_files(folder)?;
    let database = folder.join(DATABASE);
    if !database.exists() {
        return Err(Failure::because(format!("there is no database {}", database.display())));
    }
    let keeper = lock.keeper()?;
    let options = database::options(address)?;
    let told = Told::default();
    let (file, server) = (from.to_string(), to.to_string());
    let moved = transfer_runtime()?.block_on(move_to_server((&database, &file), (&options, &server), occasion, &told));
    drop(told);
    let moved = moved.map_err(|Stopped { at, why, .. }| stopped(at, [from, to], trouble::explained(why, folder)))?;
    // Root may do this for the user that serves.
    lock.hand_over(keeper)?;
    Ok(moved)
}

fn to_folder(
    (address, promotions): (&Dsn, DatabasePromotions),
    folder: &Path,
    [from, to]: [&Place; 2],
    occasion: Occasion,
) -> Result<Option<Transferred>, Failure> {
    data_folder::make(folder)?;
    let lock = data_folder::lock(folder)?;
    data_folder::check_files(folder)?;
    data_folder::check_access(folder)?;
    let keeper = lock.keeper()?;
    let database = folder.join(DATABASE);
    let mut options = database::options(address)?;
    options.promotions = promotions.into();
    let failed = |at: Stage| move |error: StoreError| stopped(at, [from, to], trouble::explained(error, folder));
    let runtime = transfer_runtime()?;
    let (server, file) = (from.to_string(), to.to_string());
    // An earlier try may have marked the source behind it.
    let is_begun = database.exists() && arrival_at(&database).is_ok_and(|arrival| arrival == Arrival::Unfinished);
    let begun = runtime
        .block_on(Departure::begin((&options, &server), (&database, &file), occasion))
        .map_err(failed(if is_begun { Stage::InDoubt } else { Stage::NotLeft }))?;
    let mut moved = None;
    if let Some(departure) = begun {
        let at = departure.stage();
        let said = |error| stopped(at, [from, to], error);
        let fresh = Unfinished::of(&database).map_err(said)?;
        let told = Told::default();
        let copied = runtime.block_on(departure.copy_to(fresh.path(), &told));
        drop(told);
        moved = Some(copied.map_err(failed(at))?);
        fresh.give(keeper).map_err(said)?;
        let present = if database.exists() && arrival_at(&database).map_err(failed(at))? == Arrival::Unfinished {
            // What is left of the copy that goes would be taken for the new one's.
            remove_log(&database);
            let _ = std::fs::remove_file(data_folder::with_suffix(&database, "-journal"));
            Present::Goes
        } else {
            Present::Stays
        };
        fresh.becomes(&database, present).map_err(said)?;
        let left = runtime.block_on(departure.leave());
        left.map_err(|Stopped { at, why, .. }| stopped(at, [from, to], why.into()))?;
    }
    arrive(&database).map_err(failed(Stage::Left))?;
    lock.hand_over(keeper)?;
    Ok(moved)
}

/// What is said of a move that was not brought to its end: what is known of both sides, and what is to be done.
fn stopped(at: Stage, [from, to]: [&Place; 2], error: anyhow::Error) -> anyhow::Error {
    error.context(match at {
        Stage::NotLeft => format!("{from} was not moved to {to}"),
        Stage::Left => format!(
            "{from} is marked as moved, and the copy at {to} is not finished: nothing serves from either until the same command, \
             given again, finishes it"
        ),
        Stage::InDoubt => format!(
            "whether {from} was moved to {to} is not known: serve from neither, and give the same command again, which finds \
             out and finishes it"
        ),
    })
}

/// Lets an installation be served from again that was moved elsewhere.
fn take_back(place: &Place, out: &mut Output<'_>) -> Result<(), Failure> {
    let failed = || format!("that {place} was moved elsewhere is not taken back");
    let moved_to = match place {
        Place::Folder(folder) => {
            let lock = data_folder::lock(folder)?;
            data_folder::check_files(folder)?;
            let keeper = lock.keeper()?;
            let taken = take_back_to_file(&folder.join(DATABASE));
            let moved_to = taken.map_err(|error| trouble::explained(error, folder)).with_context(failed)?;
            lock.hand_over(keeper)?;
            moved_to
        }
        Place::Postgres(address, _) => {
            let options = database::options(address)?;
            transfer_runtime()?.block_on(take_back_to_server(&options)).with_context(failed)?
        }
    };
    out.say(
        &json!({ "takenBack": place.to_string(), "movedTo": moved_to }),
        format_args!(
            "{place} can be served from again (respoked serve {}). It was moved to {moved_to}: what was done there since is not \
             here.\nWhat was revoked, banned or changed there since is to be done again. Tokens that were not redeemed are \
             spent. Admins sign in anew; their recovery codes that were used there are good again.\nSee to it that nothing serves from {moved_to} any more.",
            serve(place)
        ),
    )
}

fn serve(place: &Place) -> String {
    match place {
        Place::Folder(folder) => format!("--data {}", folder.display()),
        Place::Postgres(address, _) => format!("--database {}", address.without_password()),
    }
}

fn report(moved: Option<&Transferred>, from: &Place, to: &Place, out: &mut Output<'_>) -> Result<(), Failure> {
    let rows = moved.map(|moved| moved.tables.iter().map(|(_, rows)| rows).sum::<u64>());
    let replaced = moved.map_or(0, |moved| moved.replaced);
    if out.wants_json() {
        let tables = moved.into_iter().flat_map(|moved| &moved.tables);
        let tables: Map<String, Value> = tables.map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
        return out.json(&json!({
            "from": from.to_string(), "to": to.to_string(), "rows": rows, "tables": tables, "replacedTexts": replaced,
        }));
    }
    match rows {
        Some(rows) => out.line(format_args!("The installation is at {to} now: {rows} rows, read back and compared.")),
        None => out.line(format_args!("The installation is at {to}: all of it was done before.")),
    }?;
    if replaced > 0 {
        out.line(format_args!(
            "In {replaced} texts U+FFFD stands for U+0000, which PostgreSQL does not hold: names, descriptions, reasons of bans \
             or what the audit log tells."
        ))?;
    }
    out.line(format_args!(
        "Serve it from there (respoked serve {}){}. {from} is marked as moved and is not served from any more.",
        serve(to),
        match to {
            Place::Folder(_) => "",
            Place::Postgres(..) => "; if it serves as another role, run `respoked migrate --grant-to ROLE` first",
        }
    ))
}
