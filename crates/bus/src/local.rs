//! A bus within one process: what is published is received at once, by the same thread.

use std::sync::{Arc, OnceLock, Weak};

use respoke_core::ports::{Bus, Delivery, Receiver};

/// A bus with one receiver. Without one, as on the command line, deliveries are dropped: nobody is connected.
#[derive(Default)]
pub struct LocalBus {
    receiver: OnceLock<Weak<dyn Receiver>>,
}

impl std::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBus").finish_non_exhaustive()
    }
}

impl LocalBus {
    /// Hands everything from now on to `receiver`, the first that is attached.
    pub fn attach(&self, receiver: &Arc<dyn Receiver>) {
        // A server attaches one; a second would be a defect that its tests show at once.
        let _ = self.receiver.set(Arc::downgrade(receiver));
    }
}

impl Bus for LocalBus {
    fn publish(&self, delivery: Delivery) {
        if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            receiver.receive(delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use respoke_core::ports::Change;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<u64>>);

    impl Receiver for Notes {
        fn receive(&self, delivery: Delivery) {
            if let Delivery::Change(Change::Session(number)) = delivery {
                self.0.lock().unwrap().push(number);
            }
        }
    }

    #[test]
    fn what_is_published_has_been_received_in_order() {
        let bus = LocalBus::default();
        bus.publish(Delivery::Change(Change::Session(1)));
        let notes = Arc::new(Notes::default());
        bus.attach(&(notes.clone() as Arc<dyn Receiver>));
        bus.publish(Delivery::Change(Change::Session(2)));
        bus.publish(Delivery::Change(Change::Session(3)));
        assert_eq!(*notes.0.lock().unwrap(), [2, 3]);
    }
}
