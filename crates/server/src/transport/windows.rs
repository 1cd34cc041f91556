//! What HTTP/2 takes in of bodies that are not read yet, and how many of them may stand.

/// What the library takes in of bodies that nobody asks for yet, of a stream and of a connection. It is not counted, so it is
/// little. Who is far away still sends the longest body of an operation at once. A stream whose body is not read on keeps
/// what it has of the connection's from all others: so that is much more.
pub(super) const STREAM_WINDOW: u32 = 65_535;
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;
/// So many bodies of one connection may stand at once: together they leave the others half of its window.
pub(super) const STANDING_MAX: u32 = CONNECTION_WINDOW / 2 / STREAM_WINDOW;
/// And so many of one caller, where a connection is of many: that of a proxy is everybody's, and who finds no room to stand is
/// sent away. A client sends one after the other, and may send one more after a broken connection.
pub(super) const STANDING_OF_ONE_MAX: usize = 2;
