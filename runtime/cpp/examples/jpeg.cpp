#include "jpeg.hpp"

#include <cstdint>

#ifdef EMCA_WITH_JPEG
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
#endif

#ifdef JCS_EXTENSIONS  // libjpeg-turbo, not another libjpeg
namespace {

constexpr int kExif = JPEG_APP0 + 1;
constexpr unsigned kExifSeen = 16;        // bytes of it, enough to know that it is there
constexpr std::uint64_t kMost = 1 << 30;  // pixels; more is OpenCV's to refuse

//! libjpeg ends the process at an error unless its caller jumps away.
struct Errors {
    jpeg_error_mgr base;
    std::jmp_buf away;
};

void leave(j_common_ptr decoder) {
    std::longjmp(reinterpret_cast<Errors*>(decoder->err)->away, 1);
}

void stay_silent(j_common_ptr) {}

}  // namespace

// No object with a destructor lives here: a jump would pass it over.
bool decode_plain_jpeg(std::string const& bytes, cv::Mat& image) {
    jpeg_decompress_struct decoder;
    Errors errors;
    decoder.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = leave;
    errors.base.output_message = stay_silent;
    if (setjmp(errors.away) != 0) {
        jpeg_destroy_decompress(&decoder);
        return false;
    }
    jpeg_create_decompress(&decoder);
    jpeg_save_markers(&decoder, kExif, kExifSeen);
    jpeg_mem_src(&decoder, reinterpret_cast<unsigned char const*>(bytes.data()), bytes.size());
    jpeg_read_header(&decoder, TRUE);
    bool plain = decoder.num_components == 3 && decoder.marker_list == nullptr &&
                 std::uint64_t{decoder.image_width} * decoder.image_height <= kMost;
    if (plain) {
        try {
            image.create(static_cast<int>(decoder.image_height),
                         static_cast<int>(decoder.image_width), CV_8UC3);
        } catch (...) {  // memory is short
            jpeg_destroy_decompress(&decoder);
            throw;
        }
        decoder.out_color_space = JCS_EXT_BGR;
        jpeg_start_decompress(&decoder);
        while (decoder.output_scanline < decoder.output_height) {
            JSAMPROW row = image.ptr(static_cast<int>(decoder.output_scanline));
            jpeg_read_scanlines(&decoder, &row, 1);
        }
        jpeg_finish_decompress(&decoder);
        plain = errors.base.num_warnings == 0;
    }
    jpeg_destroy_decompress(&decoder);
    return plain;
}

bool has_fast_jpegs() { return true; }
#else
bool decode_plain_jpeg(std::string const&, cv::Mat&) { return false; }

bool has_fast_jpegs() { return false; }
#endif
