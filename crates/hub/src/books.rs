//! What nodes count beside their sockets, on its way from and to those who count it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use respoke_core::figures::Figures;
use respoke_core::id::AppId;
use respoke_core::ports::{Answer, Bookkeeper, BooksAnswer, BooksQuestion, Counted, Delivery, Node, Question, Whom};
use respoke_core::refusal::Refusal;
use respoke_core::request_log::{RequestsAsked, RequestsPiece};
use tokio::time::Instant;

use crate::hub::Hub;

/// How long what other nodes count and log is waited for, and the time that they are on their way.
const FIGURES_WITHIN: Duration = Duration::from_millis(250);

impl Hub {
    /// Has `books` answer other nodes, and take what they tell; the first that is named.
    pub fn attach_books(&self, books: &Arc<dyn Bookkeeper>) {
        // A server names one; a second would be a defect that its tests show at once.
        let _ = self.books.set(Arc::downgrade(books));
    }

    /// Whether other nodes may count what this one counts.
    #[must_use]
    pub const fn is_among_others(&self) -> bool {
        self.others.is_some()
    }

    /// Fails if others may have taken this node for dead: a process may have stood still in the middle of a request. Looked at right
    /// before something is said, which is lost then without a word: they were told of a gap before it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Isolated`]: nothing was said.
    pub(crate) fn check_standing(&self) -> Result<(), Refusal> {
        let stands = self.books.get().and_then(Weak::upgrade).is_none_or(|books| books.stands());
        if stands { Ok(()) } else { Err(Refusal::Isolated) }
    }

    /// The same once it was said. It may have stood still just before.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeInDoubt`].
    pub(crate) fn check_said(&self) -> Result<(), Refusal> {
        self.check_standing().map_err(|_| Refusal::NodeInDoubt)
    }

    /// Tells the other nodes what was counted here. It never waits; a server that is alone tells nobody.
    pub fn tell_counted(&self, counted: Counted) {
        if self.others.is_some() {
            self.bus.publish(Delivery::Counted(counted));
        }
    }

    /// How many other nodes there are.
    #[must_use]
    pub fn other_nodes_count(&self) -> usize {
        if self.others.is_some() { self.bus.other_nodes().len() } else { 0 }
    }

    /// What each other node counted since its present minute began, and how many did not answer.
    pub async fn figures_of_others(&self, app_id: Option<AppId>) -> (Vec<(Node, Figures)>, usize) {
        let Some(others) = &self.others else { return (Vec::new(), 0) };
        let question = Question::Books(BooksQuestion::Figures { app_id });
        let answers = self.bus.ask(Whom::Others, question, others.and_the_way(FIGURES_WITHIN)).await;
        let (asked, mut silent) = (answers.given.len(), answers.silent.len());
        let figures: Vec<_> = answers
            .given
            .into_iter()
            .filter_map(|given| match given.answer {
                Answer::Books(BooksAnswer::Figures(figures)) => Some((given.node, *figures)),
                _ => None,
            })
            .collect();
        silent += asked - figures.len();
        (figures, silent)
    }

    /// The other nodes whose logs of requests can be asked for.
    #[must_use]
    pub fn other_nodes(&self) -> Vec<Node> {
        if self.others.is_some() { self.bus.other_nodes() } else { Vec::new() }
    }

    /// A piece of another node's log of requests. None: it does not answer in time, or by `until`.
    pub async fn requests_of(&self, node: Node, asked: RequestsAsked, until: Instant) -> Option<RequestsPiece> {
        let others = self.others.as_ref()?;
        let within = others.and_the_way(FIGURES_WITHIN).min(until.saturating_duration_since(Instant::now()));
        if within.is_zero() {
            return None;
        }
        let question = Question::Books(BooksQuestion::Requests(Box::new(asked)));
        let answer = self.bus.ask(Whom::One(node), question, within).await.given.pop()?.answer;
        match answer {
            Answer::Books(BooksAnswer::Requests(piece)) => Some(piece),
            _ => None,
        }
    }

    /// Takes what another node counted.
    pub(crate) fn take_counted(&self, from: Node, counted: Counted) {
        if let Counted::Enrols(admin_id) = counted {
            return self.broker.enrols_elsewhere(admin_id);
        }
        if let Some(books) = self.books.get().and_then(Weak::upgrade) {
            books.counted(from, counted);
        }
    }

    /// Answers another node.
    pub(crate) fn answer_of_books(&self, question: BooksQuestion) -> BooksAnswer {
        match question {
            BooksQuestion::Enrolment { admin_id, code } => {
                BooksAnswer::Enrolment(self.broker.look_at_enrolment(admin_id, &code))
            }
            BooksQuestion::Figures { app_id } => match self.books.get().and_then(Weak::upgrade) {
                Some(books) => BooksAnswer::Figures(Box::new(books.figures(app_id))),
                None => BooksAnswer::None,
            },
            BooksQuestion::Requests(asked) => match self.books.get().and_then(Weak::upgrade) {
                Some(books) => BooksAnswer::Requests(books.requests(&asked)),
                None => BooksAnswer::None,
            },
        }
    }
}
