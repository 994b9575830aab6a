// An engine and the JSON beside it: runtime/backends/engine_file.py.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "card.hpp"

namespace emca::detail {

using Shape = std::array<std::int64_t, 4>;  //!< [N,H,W,3]

//! An optimization profile: the shapes of `image` that it was made for.
struct Profile {
    Shape minimum, optimum, maximum;

    bool allows(Shape const& shape) const;
};

struct EngineFile {
    std::filesystem::path path;
    std::string plan;  //!< the engine itself
    Card card;
    std::string version;  //!< of TensorRT at the build
    std::string device;
    std::vector<std::string> compute_capabilities;
    bool version_compatible;
    std::string hardware_compatibility;
    std::vector<Profile> profiles;
    std::set<std::string> plugins;     //!< operators that run as plugins
    std::filesystem::path onnx;        //!< what it was built from, which may be gone
    std::vector<std::string> options;  //!< of its build, besides shapes

    //! \throw Error no engine, no JSON beside it, one of another version or backend or that is not
    //! complete, or an engine that was replaced after the JSON was written
    static EngineFile read(std::filesystem::path const& path);

    //! The command that builds the engine again, for its own profiles or others, in the words of
    //! `rebuild` in runtime/backends/trt/checks.py.
    std::string rebuild() const { return rebuild(profiles); }
    std::string rebuild(std::vector<Profile> const& others) const;

    //! The smallest batch size that the profiles allow.
    std::int64_t batch() const;
    //! The profile made for this very shape or, among those that allow it, the narrowest.
    //!
    //! \throw Error no profile allows the shape
    int pick_profile(Shape const& shape) const;
};

}  // namespace emca::detail
