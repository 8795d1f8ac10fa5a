//! After Cephes: sin.c, tan.c and atan.c; angles from 2^29 on are reduced as Payne and Hanek do it.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::polynomial;

const SIN: [f64; 6] = [
    1.5896230157654656e-10,
    -2.5050747762857807e-8,
    2.7557313621385722e-6,
    -0.0001984126982958954,
    0.008333333333322118,
    -0.1666666666666663,
];
const COS: [f64; 6] = [
    -1.1358536521387682e-11,
    2.087570084197473e-9,
    -2.755731417929674e-7,
    2.4801587288851704e-5,
    -0.0013888888888873056,
    0.041666666666666595,
];
const TAN_P: [f64; 3] = [-13093.693918138379, 1153516.6483858742, -17956525.197648488];
const TAN_Q: [f64; 5] =
    [1.0, 13681.296347069296, -1320892.3444021097, 25008380.18233579, -53869575.592945464];
const ATAN_P: [f64; 5] =
    [-0.8750608600031904, -16.157537187333652, -75.00855792314705, -122.88666844901361, -64.85021904942025];
const ATAN_Q: [f64; 6] =
    [1.0, 24.858464901423062, 165.02700983169885, 432.88106049129027, 485.3903996359137, 194.5506571482614];

/// π/4 in three parts.
const QUARTER: [f64; 3] = [0.7853981256484985, 3.774894707930798e-8, 2.6951514290790595e-15];
/// From here on the three parts are not enough.
const REDUCE_FROM: f64 = (1u64 << 29) as f64;

/// An angle as so many eighths of a circle, an even number, and what remains.
fn octants(angle: f64) -> (u64, f64) {
    if angle >= REDUCE_FROM {
        return far_octants(angle);
    }
    let octant = (angle * (4.0 / PI)) as u64;
    let octant = octant + octant % 2;
    let y = octant as f64;
    (octant % 8, QUARTER.iter().fold(angle, |rest, part| rest - y * part))
}

pub(crate) fn sin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, rest) = octants(x.abs());
    let value = if octant % 4 == 2 { cosine(rest) } else { sine(rest) };
    if (x < 0.0) != (octant > 3) { -value } else { value }
}

pub(crate) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, rest) = octants(x.abs());
    let value = if octant % 4 == 2 { sine(rest) } else { cosine(rest) };
    if matches!(octant, 2 | 4) { -value } else { value }
}

/// Of an angle of at most π/4.
fn sine(x: f64) -> f64 {
    let square = x * x;
    x + x * square * polynomial(square, &SIN)
}

/// Of an angle of at most π/4.
fn cosine(x: f64) -> f64 {
    let square = x * x;
    1.0 - 0.5 * square + square * square * polynomial(square, &COS)
}

pub(crate) fn tan(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, rest) = octants(x.abs());
    let square = rest * rest;
    let value = if square > 1e-14 {
        rest + rest * (square * polynomial(square, &TAN_P) / polynomial(square, &TAN_Q))
    } else {
        rest
    };
    let value = if octant % 4 == 2 { -1.0 / value } else { value };
    if x < 0.0 { -value } else { value }
}

/// The bits of 4/π, the first of them before the point.
const FOUR_BY_PI: [u64; 20] = [
    0x0000_0000_0000_0001,
    0x45F3_06DC_9C88_2A53,
    0xF84E_AFA3_EA69_BB81,
    0xB6C5_2B32_7887_2083,
    0xFCA2_C757_BD77_8AC3,
    0x6E48_DC74_849B_A5C0,
    0x0C92_5DD4_13A3_2439,
    0xFC3B_D639_6253_4E7D,
    0xD104_6BEA_5D76_8909,
    0xD338_E04D_68BE_FC82,
    0x7323_AC73_06A6_73E9,
    0x3908_BF17_7BF2_5076,
    0x3FF1_2FFF_BC0B_301F,
    0xDE5E_2316_B414_DA3E,
    0xDA6C_FD9E_4F96_136E,
    0x9E8C_7ECD_3CBF_D45A,
    0xEA4F_758F_D7CB_E2F6,
    0x7A0E_73EF_14A5_25D4,
    0xD7F6_BF62_3F1A_BA10,
    0xAC06_608D_F8F6_D757,
];

/// Multiplies the angle with those bits of 4/π that have to do with its last eighth of a circle: three words are
/// enough, since the mantissa is one, and what is above them are whole circles.
fn far_octants(angle: f64) -> (u64, f64) {
    let bits = angle.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i32 - 1023 - 52;
    let mantissa = u128::from(bits & 0x000F_FFFF_FFFF_FFFF | 0x0010_0000_0000_0000);
    let from = (exponent + 61).max(0) as u32;
    let (word, shift) = ((from / 64) as usize, from % 64);
    let part = |i: usize| -> u128 {
        let pair = u128::from(FOUR_BY_PI[word + i]) << 64 | u128::from(FOUR_BY_PI[word + i + 1]);
        u128::from((pair << shift >> 64) as u64)
    };
    let high = (part(0) * mantissa) << 64;
    let product = high.wrapping_add(part(1) * mantissa).wrapping_add((part(2) * mantissa) >> 64);
    let octant = (product >> 125) as u64;
    let fraction = product << 3;
    let zeros = fraction.leading_zeros();
    // The first bit that is set is the one that doubles leave out.
    let mantissa = fraction.checked_shl(zeros + 1).unwrap_or(0) >> 76;
    let rest = f64::from_bits(u64::from(1022 - zeros) << 52 | mantissa as u64);
    let (octant, rest) = if octant % 2 == 1 { ((octant + 1) % 8, rest - 1.0) } else { (octant, rest) };
    (octant, rest * FRAC_PI_4)
}

/// Bits of π/2 beyond those of a double.
const MORE_OF_PI_2: f64 = 6.123233995736766e-17;
const TAN_3_PI_8: f64 = 2.414213562373095;

pub(crate) fn atan(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if x < 0.0 { -positive_atan(-x) } else { positive_atan(x) }
}

fn positive_atan(x: f64) -> f64 {
    if x <= 0.66 {
        return small_atan(x);
    }
    if x > TAN_3_PI_8 {
        return FRAC_PI_2 - small_atan(1.0 / x) + MORE_OF_PI_2;
    }
    FRAC_PI_4 + small_atan((x - 1.0) / (x + 1.0)) + 0.5 * MORE_OF_PI_2
}

fn small_atan(x: f64) -> f64 {
    let square = x * x;
    x * (square * polynomial(square, &ATAN_P) / polynomial(square, &ATAN_Q)) + x
}

pub(crate) fn asin(x: f64) -> f64 {
    let size = x.abs();
    if x == 0.0 {
        return x;
    }
    if size > 1.0 {
        return f64::NAN;
    }
    let other = (1.0 - x * x).sqrt();
    let angle =
        if size > 0.7 { FRAC_PI_2 - positive_atan(other / size) } else { positive_atan(size / other) };
    if x < 0.0 { -angle } else { angle }
}

pub(crate) fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

pub(crate) fn atan2(y: f64, x: f64) -> f64 {
    const THREE_QUARTERS: f64 = 2.356194490192345;
    if y.is_nan() || x.is_nan() {
        return f64::NAN;
    }
    let is_left = x.is_sign_negative();
    let special = match (y, x) {
        (0.0, _) => Some(if is_left { PI } else { 0.0 }),
        (_, 0.0) => Some(FRAC_PI_2),
        _ if x.is_infinite() && y.is_infinite() => Some(if is_left { THREE_QUARTERS } else { FRAC_PI_4 }),
        _ if x.is_infinite() => Some(if is_left { PI } else { 0.0 }),
        _ if y.is_infinite() => Some(FRAC_PI_2),
        _ => None,
    };
    if let Some(angle) = special {
        return angle.copysign(y);
    }
    let angle = atan(y / x);
    match (is_left, angle <= 0.0) {
        (false, _) => angle,
        (true, true) => angle + PI,
        (true, false) => angle - PI,
    }
}
