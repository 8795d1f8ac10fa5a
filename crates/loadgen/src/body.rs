/// Builds remote-write 1.0 requests (`prometheus.WriteRequest`), reusing its buffers.
#[derive(Default)]
pub(crate) struct BodyBuilder {
    series: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    shuffled: Vec<u8>,
    compressed: Vec<u8>,
    chance: u64,
}

impl BodyBuilder {
    /// Samples in the request so far.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Adds a series with one sample.
    pub(crate) fn push(&mut self, run: &[u8], timestamp: i64, value: f64) {
        let start = self.bytes.len();
        let mut sample = [0u8; 20];
        let n = encode_sample(&mut sample, timestamp, value);
        self.bytes.push(0x0A);
        varint(&mut self.bytes, (run.len() + 2 + n) as u64);
        self.bytes.extend_from_slice(run);
        self.bytes.extend_from_slice(&[0x12, n as u8]);
        self.bytes.extend_from_slice(&sample[..n]);
        self.series.push((start, self.bytes.len()));
    }

    /// The compressed request; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, shuffle: bool) -> anyhow::Result<&[u8]> {
        if shuffle {
            self.shuffle();
        }
        let max = snap::raw::max_compress_len(self.bytes.len());
        self.compressed.resize(max, 0);
        let n = snap::raw::Encoder::new().compress(&self.bytes, &mut self.compressed)?;
        self.bytes.clear();
        self.series.clear();
        Ok(&self.compressed[..n])
    }

    fn shuffle(&mut self) {
        for i in (1..self.series.len()).rev() {
            // A linear congruential step (Knuth, MMIX) is chance enough for an order.
            self.chance =
                self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let j = (self.chance >> 33) as usize % (i + 1);
            self.series.swap(i, j);
        }
        self.shuffled.clear();
        for (start, end) in &self.series {
            self.shuffled.extend_from_slice(&self.bytes[*start..*end]);
        }
        std::mem::swap(&mut self.bytes, &mut self.shuffled);
    }
}

/// `prometheus.Sample`: proto3 leaves a value of zero out, by its bits as the senders in the field do.
fn encode_sample(out: &mut [u8; 20], timestamp: i64, value: f64) -> usize {
    let mut bytes = Vec::with_capacity(20);
    if value != 0.0 {
        bytes.push(0x09);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.push(0x10);
    varint(&mut bytes, timestamp as u64);
    out[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
