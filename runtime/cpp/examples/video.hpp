// Videos and cameras: decode, label and encode at the same time.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>

#include "emca/segmenter.hpp"

//! Label every frame of a video, camera or URL and write the overlays as a video.
//!
//! \param stop ends a camera or stream early, which keeps what was written; it ends a file with an
//! error
//! \throw emca::Error the source cannot be opened or holds no frame, the output cannot be written;
//! or, once the output is whole: frames are damaged, or a camera or stream was lost or the disk is
//! full
void segment_video(emca::Segmenter& segmenter, std::string const& source,
                   std::filesystem::path const& out, std::atomic<bool> const& stop);
