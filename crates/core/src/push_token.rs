//! Push tokens: where a device is reached when no connection is open.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, PushTokenId};
use crate::secret::{Secret, SecretHash};

/// A device's push token. Whoever has its text can send to the device, so it is neither logged nor shown.
#[derive(Clone, Debug)]
pub struct PushToken {
    /// Its id, which is not its text; unique within the app.
    pub id: PushTokenId,
    /// In which app.
    pub app_id: AppId,
    /// Whose device it is at present.
    pub endpoint_id: EndpointId,
    /// By which service it is reached.
    pub service: PushService,
    /// What the service knows the device by.
    pub text: Secret,
    /// When it was last registered or connected with.
    pub seen_at: Timestamp,
}

/// Who delivers to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PushService {
    /// Firebase Cloud Messaging.
    Google,
    /// The Apple Push Notification service.
    Apple,
}

impl PushService {
    /// Reads the word that clients send.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "google" => Some(Self::Google),
            "apple" => Some(Self::Apple),
            _ => None,
        }
    }
}

impl PushToken {
    /// The longest text, in bytes. Firebase promises no length; the longest seen are some 300.
    pub const TEXT_LEN_MAX: usize = 4_096;
    /// Push tokens of one endpoint. The longest unseen go.
    pub const PER_ENDPOINT_MAX: usize = 100;

    /// What tells two devices apart without their texts.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        self.text.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_shown_as_it_is_named() {
        for service in [PushService::Google, PushService::Apple] {
            let shown = serde_json::to_value(service).unwrap();
            assert_eq!(PushService::parse(shown.as_str().unwrap()), Some(service));
        }
    }

    #[test]
    fn the_text_is_not_printed() {
        let token = PushToken {
            id: PushTokenId::random(),
            app_id: AppId::random(),
            endpoint_id: EndpointId::parse("alice").unwrap(),
            service: PushService::Apple,
            text: Secret::new("CANARY".to_owned()),
            seen_at: Timestamp::from_secs(1),
        };
        assert!(!format!("{token:?}").contains("CANARY"));
    }
}
