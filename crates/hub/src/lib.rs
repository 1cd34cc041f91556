//! Who is connected, and what reaches them.
