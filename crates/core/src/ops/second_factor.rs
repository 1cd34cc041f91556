//! `/v1/admins/me/totp`: an admin's second factor.

use std::time::Duration;

use super::caller::admin_needed;
use super::enrolments::Enrolment;
use super::{Broker, Caller, Context};
use crate::admin::{Admin, SecondFactor};
use crate::audit::Action;
use crate::id::AdminId;
use crate::ports::{
    Answer, Answers, BooksAnswer, BooksQuestion, Change, Counted, Delivery, EnrolmentAnswer, Factor, FactorAddition,
    FactorRemoval, NewSecondFactor, Node, Question, Whom,
};
use crate::refusal::Refusal;
use crate::secret::{Secret, SecretHash};
use crate::totp::{RECOVERY_CODES, SealedTotp, TotpSecret, TypedCode, recovery_code};

/// How long other nodes are waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A second factor about to be taken up, shown once.
#[derive(Clone, Debug)]
pub struct TotpEnrolment {
    /// The secret, to be typed into a device.
    pub secret: Secret,
    /// The same for a device that reads QR codes.
    pub uri: Secret,
}

impl Broker {
    /// Begins to take up a second factor. It is asked for once [`Broker::confirm_totp`] has seen a code of it.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] if the password is wrong; [`Refusal::Conflict`] if there is a second factor already.
    pub async fn enrol_totp(
        &self,
        caller: &Caller,
        password: Secret,
        context: &Context,
    ) -> Result<TotpEnrolment, Refusal> {
        let admin = self.prove_own(caller, password.clone(), context).await?;
        if admin.second_factor.is_some() {
            return Err(Refusal::Conflict("there is a second factor already; remove it first"));
        }
        let secret = TotpSecret::new(self.chance());
        let enrolment = TotpEnrolment { secret: secret.text(), uri: secret.uri(&admin.username) };
        let (sealing, key, salt) = (secret.clone(), password, self.chance().bytes());
        let sealed = self.in_background(move || sealing.seal(&key, salt)).await?;
        let (admin_id, password_hash) = (admin.id, admin.password_hash);
        self.enrolments.put(Enrolment { admin_id, secret, sealed, password_hash, since: self.now() });
        self.tell_enrols(admin_id);
        Ok(enrolment)
    }

    /// Tells the other nodes that what an admin began there is over.
    fn tell_enrols(&self, admin_id: AdminId) {
        if self.node() != Node::ALONE {
            self.bus.publish(Delivery::Counted(Counted::Enrols(admin_id)));
        }
    }

    /// Learns that an admin began anew at another node, or ended there what was begun here.
    pub fn enrols_elsewhere(&self, admin_id: AdminId) {
        self.enrolments.remove(admin_id);
    }

    /// What waits here of an admin's, and whether this is its code.
    #[must_use]
    pub fn look_at_enrolment(&self, admin_id: AdminId, code: &Secret) -> EnrolmentAnswer {
        let now = self.now();
        let looked = self.enrolments.look(admin_id, now, |enrolment| {
            let step = match TypedCode::read(code) {
                TypedCode::Totp(code) => enrolment.secret.step_of(code.expose(), now),
                TypedCode::Recovery(_) => None,
            };
            match step {
                None => EnrolmentAnswer::Wrong,
                Some(step) => EnrolmentAnswer::Right {
                    step,
                    sealed: enrolment.sealed.clone(),
                    password: SecretHash::of(enrolment.password_hash.as_bytes()),
                },
            }
        });
        looked.unwrap_or(EnrolmentAnswer::NoneWaits)
    }

    /// What waits of an admin's, here or at another node: at one of them, for whoever begins anew is over elsewhere. The
    /// secret stays where it was drawn.
    async fn find_enrolment(&self, admin_id: AdminId, code: &Secret) -> Result<EnrolmentAnswer, Refusal> {
        let here = self.look_at_enrolment(admin_id, code);
        if self.node() == Node::ALONE || !matches!(here, EnrolmentAnswer::NoneWaits) {
            return Ok(here);
        }
        let question = Question::Books(BooksQuestion::Enrolment { admin_id, code: code.clone() });
        let Answers { given, silent } = self.bus.ask(Whom::Others, question, ANSWER_WITHIN).await;
        let there = given.into_iter().find_map(|given| match given.answer {
            Answer::Books(BooksAnswer::Enrolment(found)) if !matches!(found, EnrolmentAnswer::NoneWaits) => Some(found),
            _ => None,
        });
        match there {
            Some(found) => Ok(found),
            None if silent.is_empty() => Ok(EnrolmentAnswer::NoneWaits),
            None => Err(Refusal::NodeSilent),
        }
    }

    /// Takes the second factor up, ends every other sign-in of the caller, and returns the recovery codes, which are
    /// shown this once.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] for a wrong code; [`Refusal::Conflict`] if no enrolment waits for one.
    pub async fn confirm_totp(
        &self,
        caller: &Caller,
        code: &Secret,
        context: &Context,
    ) -> Result<Vec<Secret>, Refusal> {
        const NONE_WAITS: Refusal = Refusal::Conflict("no enrolment waits for a code; begin with POST");
        let Caller::Admin { session, .. } = caller else { return Err(admin_needed(caller)) };
        let admin = self.own_admin(caller).await?;
        let password_hash = admin.password_hash;
        let (last_step, sealed) = match self.find_enrolment(admin.id, code).await? {
            EnrolmentAnswer::Right { step, sealed, password }
                if password == SecretHash::of(password_hash.as_bytes()) =>
            {
                (step, sealed)
            }
            EnrolmentAnswer::Wrong => return Err(self.failed_sign_in(context).await),
            // Or the password was changed since it was sealed by it.
            EnrolmentAnswer::Right { .. } | EnrolmentAnswer::NoneWaits => return Err(NONE_WAITS),
        };
        let codes: Vec<Secret> = (0..RECOVERY_CODES).map(|_| recovery_code(self.chance())).collect();
        let recovery = codes.iter().map(|code| typed_recovery(code).hash()).collect();
        let factor = NewSecondFactor { sealed, last_step, recovery, password_hash, keep_session: *session };
        let audit = self.entry(context, caller, None, Action::SecondFactorAdded, &admin.username)?;
        let added = self.store.add_second_factor(admin.id, factor, audit).await;
        let added = self.changed(context, Change::Admin(admin.id), added).await?;
        self.enrolments.remove(admin.id);
        self.tell_enrols(admin.id);
        match added {
            FactorAddition::Added => Ok(codes),
            // The password was changed meanwhile, or another enrolment was confirmed.
            FactorAddition::Changed | FactorAddition::HasOne => Err(NONE_WAITS),
        }
    }

    /// Gives the second factor up.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] if the password is wrong, [`Refusal::WrongCode`] if the code is; [`Refusal::NotFound`] if there is no second factor.
    pub async fn remove_totp(
        &self,
        caller: &Caller,
        password: Secret,
        code: &Secret,
        context: &Context,
    ) -> Result<(), Refusal> {
        let admin = self.prove_own(caller, password.clone(), context).await?;
        let second = admin.second_factor.as_ref().ok_or(Refusal::NotFound("SecondFactors"))?;
        let Some(factor) = self.check_code(second, password, code).await? else {
            return Err(self.failed_code(&admin, context).await);
        };
        self.warn_of_the_clock(&admin, &factor);
        let audit = self.entry(context, caller, None, Action::SecondFactorRemoved, &admin.username)?;
        let removed = self.store.remove_second_factor(admin.id, factor, audit).await;
        match self.changed(context, Change::Admin(admin.id), removed).await? {
            FactorRemoval::Removed => Ok(()),
            FactorRemoval::NotProven => Err(self.failed_code(&admin, context).await),
        }
    }

    /// What a code that `password`'s owner typed is of. None: it is wrong; one that was used, only the store tells.
    pub(super) async fn check_code(
        &self,
        second: &SecondFactor,
        password: Secret,
        code: &Secret,
    ) -> Result<Option<Factor>, Refusal> {
        match TypedCode::read(code) {
            TypedCode::Recovery(code) => Ok(Some(Factor::Recovery(code.hash()))),
            TypedCode::Totp(code) => {
                let sealed = second.sealed.clone();
                let secret = self.in_background(move || sealed.open(&password)).await?;
                Ok(secret.step_of(code.expose(), self.now()).map(Factor::Step))
            }
        }
    }

    /// Says in the log why a right code will be refused: the clock went back behind the last code that was taken, and a
    /// code that was taken is not taken again.
    pub(super) fn warn_of_the_clock(&self, admin: &Admin, factor: &Factor) {
        let (Some(second), Factor::Step(step)) = (&admin.second_factor, factor) else { return };
        if let Some(secs) = second.clock_behind_secs(self.now()).filter(|_| *step <= second.last_step) {
            tracing::warn!(
                admin.id = %admin.id.uuid(),
                behind_secs = secs,
                "a right code is refused: the system's clock stands before the last code that was taken; until it has \
                 caught up, a recovery code signs in"
            );
        }
    }

    /// The second factor's secret, sealed with a new password.
    pub(super) async fn reseal(
        &self,
        second: &SecondFactor,
        present: Secret,
        new: Secret,
    ) -> Result<SealedTotp, Refusal> {
        let sealed = second.sealed.clone();
        let salt = self.chance().bytes();
        self.in_background(move || sealed.open(&present)?.seal(&new, salt)).await
    }
}

/// A recovery code as it is hashed.
fn typed_recovery(code: &Secret) -> Secret {
    match TypedCode::read(code) {
        TypedCode::Totp(text) | TypedCode::Recovery(text) => text,
    }
}
