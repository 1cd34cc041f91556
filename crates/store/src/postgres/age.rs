//! Looks at a table's rows for those that are old.

use respoke_core::ports::StoreError;

use super::connect::params;
use super::rows::{Columns, only};
use super::store::PostgresStore;
use crate::age::{Age, Aged, Ahead, First, LOOK_ROWS, PASSED_ROWS};

/// A table, or a view that shows some of a table's rows.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    /// Its rows behind a number, up to another, so many.
    rows: &'static str,
    /// The number up to which one look behind a number goes. None: there are no others between the rows that are shown.
    end: Option<&'static str>,
}

macro_rules! rows {
    ($table:literal) => {
        concat!(
            "SELECT number, at FROM respoked.",
            $table,
            " WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3"
        )
    };
}

pub(super) const AUDIT: Shown = Shown {
    rows: rows!("audit"),
    end: Some("SELECT number FROM respoked.log WHERE number > $1 ORDER BY number OFFSET $2 LIMIT 1"),
};
pub(super) const MESSAGES: Shown = Shown { rows: rows!("messages"), end: None };
pub(super) const CALL_REPORTS: Shown = Shown { rows: rows!("call_reports"), end: None };

impl PostgresStore {
    /// Of the first `most` rows of `shown` behind `begin`, up to `end`, those that are old.
    ///
    /// There may be more behind one that is younger: a clock that was set back delays what it numbered then.
    pub(super) async fn old(
        &self,
        shown: Shown,
        begin: i64,
        end: Option<i64>,
        age: Age,
        most: i64,
        ahead: &mut Ahead,
    ) -> Result<Vec<Aged>, StoreError> {
        let first = self.aged(shown, begin, end, most).await?;
        match age.look_at_first(first, *ahead) {
            First::Old(old) => Ok(old),
            First::AllAhead { first, .. } if first.is_empty() => Ok(first),
            First::AllAhead { first, behind } => {
                let end = match shown.end {
                    None => None,
                    Some(sql) => self.read_one(sql, params![behind, PASSED_ROWS], only).await?,
                };
                let most = i64::try_from(LOOK_ROWS).unwrap_or(i64::MAX);
                let behind = self.aged(shown, behind, end, most).await?;
                Ok(age.look_behind(first, &behind, end, ahead))
            }
        }
    }

    async fn aged(&self, shown: Shown, after: i64, end: Option<i64>, most: i64) -> Result<Vec<Aged>, StoreError> {
        let read = |columns: &mut Columns<'_>| Ok(Aged { number: columns.next()?, at: columns.next()? });
        self.read_all(shown.rows, params![after, end.unwrap_or(i64::MAX), most], read).await
    }
}
