# The same sources and flags as CMakeLists.txt (test/repository.test.ts compares them), for node-gyp and what drives it.
# gyp has no flags per file, so there is one static library per instruction set.
{
  "variables": {
    "warnings": ["-Wall", "-Wextra", "-Wno-psabi", "-Wno-missing-field-initializers"],
    "isa_flags": ["-O3", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-ffp-contract=off", "-fno-trapping-math"],
    "avx2_flags": ["-mavx2", "-mfma"],
    "avx512_flags": [
      "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512", "-Wno-maybe-uninitialized",
      "-Wno-uninitialized"
    ],
    "avx512bf16_flags": ["<@(avx512_flags)", "-mavx512bf16"],
    "amx_flags": ["<@(avx512_flags)", "-mamx-tile", "-mamx-bf16"],
    "neonbf16_flags": ["-march=armv8.2-a+fp16+bf16"]
  },
  "target_defaults": {
    "cflags": ["-fPIC", "-fvisibility=hidden", "<@(warnings)"],
    "cflags!": ["-Wno-unused-parameter", "-fno-omit-frame-pointer"],
    "cflags_cc": ["-std=gnu++17", "-fvisibility-inlines-hidden"],
    "cflags_cc!": ["-std=gnu++14", "-std=gnu++20"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "gnu++17",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "WARNING_CFLAGS": ["<@(warnings)"]
    }
  },
  "targets": [
    {
      "target_name": "isa_scalar",
      "type": "static_library",
      "sources": ["native/cpu/isa.cc"],
      "defines": ["BK_ISA=scalar", "BK_GENERIC_WIDTH=4"],
      "cflags_cc": ["<@(isa_flags)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(isa_flags)"] }
    },
    {
      "target_name": "bertkit_core",
      "type": "static_library",
      "sources": [
        "native/runtime/engine.cc", "native/runtime/run.cc",
        "native/runtime/plan.cc",
        "native/runtime/ops.cc",
        "native/runtime/pool.cc",
        "native/runtime/text.cc",
        "native/runtime/queue.cc", "native/runtime/peak.cc",
        "native/runtime/system.cc",
        "native/runtime/cpu.cc",
        "native/runtime/pages.cc"
      ],
      "cflags!": ["-O3"],
      "cflags_cc": ["-O2", "-fexceptions", "-frtti"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-O2"], "GCC_ENABLE_CPP_EXCEPTIONS": "YES", "GCC_ENABLE_CPP_RTTI": "YES" },
      "conditions": [
        ["OS=='linux' and target_arch=='x64'", { "defines": ["BK_AMX"] }],
        ["OS=='linux' and target_arch=='arm64'", { "defines": ["BK_NEON_BF16"] }]
      ]
    },
    {
      "target_name": "bertkit",
      "sources": ["native/addon.cc", "native/library.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "NAPI_CPP_CUSTOM_NAMESPACE=bertkit"],
      "dependencies": ["bertkit_core", "isa_scalar"],
      "cflags!": ["-O3"],
      "cflags_cc": ["-O2", "-fexceptions", "-frtti"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-O2"], "GCC_ENABLE_CPP_EXCEPTIONS": "YES", "GCC_ENABLE_CPP_RTTI": "YES" },
      "conditions": [
        ["target_arch=='x64'", { "dependencies": ["isa_avx2", "isa_avx512", "isa_avx512bf16"] }],
        ["target_arch=='arm64'", { "dependencies": ["isa_neon"] }],
        ["OS=='linux' and target_arch=='x64'", { "dependencies": ["isa_amx"] }],
        ["OS=='linux' and target_arch=='arm64'", { "dependencies": ["isa_neonbf16"] }],
        ["OS=='linux'", { "libraries": ["-ldl", "-pthread"], "ldflags": ["-Wl,--version-script=<(module_root_dir)/native/exports.map", "-Wl,--gc-sections"] }]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "isa_avx2",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=avx2", "BK_ISA_AVX2"],
          "cflags_cc": ["<@(isa_flags)", "<@(avx2_flags)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(isa_flags)", "<@(avx2_flags)"] }
        },
        {
          "target_name": "isa_avx512",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=avx512", "BK_ISA_AVX512"],
          "cflags_cc": ["<@(isa_flags)", "<@(avx512_flags)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(isa_flags)", "<@(avx512_flags)"] }
        },
        {
          "target_name": "isa_avx512bf16",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=avx512bf16", "BK_ISA_AVX512", "BK_PAIRS"],
          "cflags_cc": ["<@(isa_flags)", "<@(avx512bf16_flags)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(isa_flags)", "<@(avx512bf16_flags)"] }
        }
      ]
    }],
    ["OS=='linux' and target_arch=='x64'", {
      "targets": [
        {
          "target_name": "isa_amx",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=amx", "BK_ISA_AVX512", "BK_ISA_AMX", "BK_TILES"],
          "cflags_cc": ["<@(isa_flags)", "<@(amx_flags)"]
        }
      ]
    }],
    ["OS=='linux' and target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "isa_neonbf16",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=neonbf16", "BK_GENERIC_WIDTH=4", "BK_PAIRS"],
          "cflags_cc": ["<@(isa_flags)", "<@(neonbf16_flags)"]
        }
      ]
    }],
    ["target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "isa_neon",
          "type": "static_library",
          "sources": ["native/cpu/isa.cc"],
          "defines": ["BK_ISA=neon", "BK_GENERIC_WIDTH=4"],
          "cflags_cc": ["<@(isa_flags)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(isa_flags)"] }
        }
      ]
    }]
  ]
}
