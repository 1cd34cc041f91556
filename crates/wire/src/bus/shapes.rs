//! How what has fields, or is of one of several kinds, is written: once for writing and for reading, so that both go the same way.

/// Has a type written as its fields, one behind the other.
macro_rules! coded_fields {
    ($($of:ty { $($field:ident),+ $(,)? })+) => {$(
        impl $crate::bus::bytes::Coded for $of {
            fn write(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.write(out);)+
            }

            fn read(from: &mut $crate::bus::bytes::Reader<'_>) -> Result<Self, $crate::bus::bounds::BusCodecError> {
                Ok(Self { $($field: $crate::bus::bytes::Coded::read(from)?),+ })
            }
        }
    )+};
}

/// Has a type written as the number of its kind, and behind that what stands in it. A number that is not here is another build's.
macro_rules! coded_kinds {
    ($of:ty, $what:literal {
        $($number:tt => $kind:ident $(($($part:ident),+))? $({ $($field:ident),+ $(,)? })?),+ $(,)?
    }) => {
        impl $crate::bus::bytes::Coded for $of {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind $(($($part),+))? $({ $($field),+ })? => {
                        let number: u8 = $number;
                        number.write(out);
                        $($($part.write(out);)+)?
                        $($($field.write(out);)+)?
                    })+
                }
            }

            fn read(from: &mut $crate::bus::bytes::Reader<'_>) -> Result<Self, $crate::bus::bounds::BusCodecError> {
                Ok(match u8::read(from)? {
                    $($number => Self::$kind
                        $(($({ let $part = $crate::bus::bytes::Coded::read(from)?; $part }),+))?
                        $({ $($field: $crate::bus::bytes::Coded::read(from)?),+ })?,)+
                    _ => return Err($crate::bus::bounds::BusCodecError::Unknown($what)),
                })
            }
        }
    };
}
pub(super) use {coded_fields, coded_kinds};
