"""Kernels that a sceptic would try: indices that wrap, loops that do not count, pointers that wander.

Each body reads `x` and writes `out`, once for item `i`; the oracle runs the parts on poisoned data.
"""

from __future__ import annotations

import numpy as np
import pytest
from slice_oracle import SliceOracle

from lb_runtime.contexts import OpenPair

N = 1024

BODIES: dict[str, tuple[str, int]] = {
    "async in": (
        "local int t[16]; event_t e=async_work_group_copy(t, x+get_group_id(0)*4, 16, 0);"
        " wait_group_events(1,&e); out[i]=t[i&15];",
        1024,
    ),
    "async out": (
        "local int t[64]; for (int j=0;j<64;j++) t[j]=j; barrier(CLK_LOCAL_MEM_FENCE); int k=n&7;"
        " event_t e=async_work_group_copy(out+get_group_id(0)*8, t, k+1, 0); wait_group_events(1,&e);",
        1024,
    ),
    "async strided out": (
        "local int t[64]; for (int j=0;j<64;j++) t[j]=j; barrier(CLK_LOCAL_MEM_FENCE);"
        " event_t e=async_work_group_strided_copy(out+get_group_id(0)*8, t, 3, 2, 0);"
        " wait_group_events(1,&e);",
        1024,
    ),
    "async by data": (
        "local int t[64]; for (int j=0;j<64;j++) t[j]=j; barrier(CLK_LOCAL_MEM_FENCE);"
        " event_t e=async_work_group_copy(out+get_group_id(0)*8, t, 1+(x[get_group_id(0)]&3), 0);"
        " wait_group_events(1,&e);",
        1024,
    ),
    "struct by data": (
        "typedef struct { int a[12]; } S; S s; for (int j=0;j<12;j++) s.a[j]=i+j;"
        " if (i<40) ((global S *)out)[i]=s;",
        1024,
    ),
    "two ways out joined": (
        "uint t=(uint)x[i]%7u; int v=x[i&~3]; for (int j=2;j>=0 && t!=(uint)j;j--) out[i*3+j]=v;",
        1024,
    ),
    "two ways out up": (
        "for (int j=0;j<3;j++) { if ((x[i]%7-1)==j) break; out[i*3+j]=x[i]; }",
        1024,
    ),
    "sym step": (
        "int s=0; for (int j=0;j<1000;j+=n) s+=x[j]; out[i]=s;",
        7,
    ),
    "neg sym step": (
        "int s=0; for (int j=999;j>=0;j+=n) s+=x[j]; out[i]=s;",
        -7,
    ),
    "mul loop": (
        "int s=0; for (int j=1;j<n;j*=2) s+=x[j]; out[i]=s;",
        1024,
    ),
    "shl loop": (
        "int s=0; for (uint j=1;j<(uint)n;j<<=1) s+=x[j^1]; out[i]=s;",
        1024,
    ),
    "limit shrinks": (
        "int s=0; int m=n; for (int j=0;j<m;j++) { s+=x[j]; if (x[j]&1) m--; } out[i]=s;",
        500,
    ),
    "limit grows": (
        "int s=0; int m=3; for (int j=0;j<m && j<n;j++) { s+=x[j]; if (x[j]&1) m+=2; } out[i]=s;",
        1024,
    ),
    "uint j-->0": (
        "int s=0; for (uint j=n;j-->0u;) s+=x[j]; out[i]=s;",
        1024,
    ),
    "int j-- !=0": (
        "int s=0; int j=n; while (j--) s+=x[j]; out[i]=s;",
        1024,
    ),
    "start data": (
        "int s=0; for (int j=x[i]&255;j<n;j+=3) s+=x[j]; out[i]=s;",
        1024,
    ),
    "start data dn": (
        "int s=0; for (int j=x[i]&255;j>4;j-=3) s+=x[j-2]; out[i]=s;",
        1024,
    ),
    "two iv": (
        "int s=0; for (int j=0,l=n-1;j<l;j++,l--) s+=x[j]*x[l]; out[i]=s;",
        1024,
    ),
    "binary search": (
        "int lo=0,hi=n-1; while (lo<hi) { int mid=(lo+hi)/2; if (x[mid]<i) lo=mid+1; else hi=mid;"
        " } out[i]=lo;",
        1024,
    ),
    "carried idx": (
        "int j=i; int s=0; for (int a=0;a<5;a++) { s+=x[j]; j=(j+7)%n; } out[i]=s;",
        1024,
    ),
    "carried write": (
        "int j=i*4; for (int a=0;a<2;a++) { for (int b=0;b<2;b++) out[j++]=x[(i+a+b)%n]; }",
        1024,
    ),
    "carried cond write": (
        "int j=i*4; for (int a=0;a<4;a++) { if (x[(i+a)%n]&1) out[j++]=a; }",
        1024,
    ),
    "triangular": (
        "int s=0; for (int a=0;a<20;a++) for (int b=0;b<=a;b++) s+=x[a*(a+1)/2+b]; out[i]=s;",
        1024,
    ),
    "vec idx": (
        "int2 p=(int2)(i, n-1-i); p=p*2+1; p=p>>1; out[p.y]=x[p.x];",
        1024,
    ),
    "vec idx min": (
        "int2 p=(int2)(i, n-1-i); p=min(p,1000); out[i]=x[p.x]+x[p.y];",
        1024,
    ),
    "vec swizzle": (
        "int4 p=(int4)(i, i+1, i+2, i+3)&(n-1); p=p.wzyx; out[i]=x[p.x]+x[p.s3];",
        1024,
    ),
    "convert vec": (
        "long2 p=convert_long2((int2)(i, n-1-i)); out[p.x]=x[p.y];",
        1024,
    ),
    "uchar vec": (
        "uchar4 p=(uchar4)(i,i*3,i+7,i*5); out[i]=x[p.y]+x[p.z];",
        1024,
    ),
    "or cond": (
        "if ((i>5&&i<100)||i==200||i>1000) out[i]=x[i]; ",
        1024,
    ),
    "not and": (
        "if (!(i>5&&i<1000)) out[i]=x[i]; else out[i]=x[i-5]; ",
        1024,
    ),
    "select builtin": (
        "int j=select(i,n-1-i,(int)(x[i]&1?-1:0)); out[i]=x[j];",
        1024,
    ),
    "rotate": (
        "uint j=rotate((uint)i,(uint)3)&1023; out[i]=x[j];",
        1024,
    ),
    "popcount clz": (
        "out[i]=x[popcount(i)]+x[clz(i)];",
        1024,
    ),
    "float idx": (
        "out[i]=x[(int)((float)i*0.5f)];",
        1024,
    ),
    "float write idx": (
        "out[(int)((float)i*2.0f)]=x[i];",
        1024,
    ),
    "dim var": (
        "int s=0; for (int d=0;d<3;d++) s+=x[get_global_id(d)]; out[i]=s;",
        1024,
    ),
    "global_id dim": (
        "int s=get_global_id(x[i]&3); out[i]=s;",
        1024,
    ),
    "min uint": (
        "uint j=min((uint)(i-5),(uint)(n-1)); out[i]=x[j];",
        1024,
    ),
    "max neg": (
        "int j=max(-i,-n+1); out[i]=x[-j];",
        1024,
    ),
    "abs idx": (
        "out[i]=x[abs(i-n+1)];",
        1024,
    ),
    "sub sat": (
        "out[i]=x[sub_sat((uint)i,(uint)7)]+x[add_sat((uchar)i,(uchar)50)];",
        1024,
    ),
    "switch range": (
        "switch(i){case 0 ... 10: out[i]=x[i+100]; break; case 500: out[i]=x[3]; break; default: "
        "out[i]=x[n-1-i];}",
        1024,
    ),
    "switch after": (
        "int j=5; switch(x[i]&3){case 0: j=1; break; case 1: return; case 2: j=100;} "
        "out[i*2+1]=x[j];",
        1024,
    ),
    "early ret": (
        "if (i>=n) return; for (int j=0;j<3;j++) { if (x[i]==j) return; out[i*3+j]=j; }",
        1024,
    ),
    "long idx wrap": (
        "long j=(long)i*4294967296L; j>>=32; out[j]=x[j];",
        1024,
    ),
    "ulong shift": (
        "ulong j=((ulong)i<<40)>>40; out[j]=x[j];",
        1024,
    ),
    "short wrap": (
        "short j=(short)(i*64); out[i]=x[j&1023];",
        1024,
    ),
    "ushort wrap": (
        "ushort j=(ushort)(i*64+i); out[i]=x[j%n];",
        1024,
    ),
    "int overflow unsigned": (
        "uint j=(uint)i*0x10000001u; out[i]=x[j&1023];",
        1024,
    ),
    "neg mask": (
        "int j=(i-512)&-16; out[i]=x[j+512];",
        1024,
    ),
    "xor top": (
        "int j=i^(n-1); out[j]=x[i];",
        1024,
    ),
    "mixed /%": (
        "int a=i/100,b=i%100/10,c=i%10; out[a*100+b*10+c]=x[c*100+b*10+a/2];",
        1024,
    ),
    "%neg const": (
        "int j=(i-100)%-7; out[i]=x[j+7];",
        1024,
    ),
    "udiv big": (
        "uint j=(uint)(i-5)/0x40000000u; out[i]=x[j];",
        1024,
    ),
    "sdiv neg": (
        "int j=(i-512)/-3; out[i]=x[j+200];",
        1024,
    ),
    "group mix": (
        "int j=get_group_id(0)*get_local_size(0)+(get_local_size(0)-1-get_local_id(0)); "
        "out[j]=x[get_num_groups(0)-1-get_group_id(0)];",
        1024,
    ),
    "half group": (
        "if (get_local_id(0)<get_local_size(0)/2) { int "
        "j=get_group_id(0)*get_local_size(0)/2+get_local_id(0); out[j]=x[j]; }",
        1024,
    ),
    "lid write row": (
        "out[get_local_id(0)*get_num_groups(0)+get_group_id(0)]=x[i];",
        1024,
    ),
    "guard chain": (
        "int a=i+3; if (a>10) { int b=a*2; if (b<900) { int c=b-5; if (c!=1) out[c]=x[c]; } }",
        1024,
    ),
    "guard mul": (
        "if (i*i<n) out[i*3]=x[i*i];",
        1024,
    ),
    "guard on other": (
        "int j=x[i]; if (j>=i && j<i+1) out[j]=1;",
        1024,
    ),
    "assume eq": (
        "if (x[i]==i) out[x[i]]=1;",
        1024,
    ),
    "ptr diff": (
        "global const int*p=x+i; global const int*q=x+n; if (q-p>4) out[i]=p[4];",
        1024,
    ),
    "ptr cmp loop": (
        "global int*p=out+i*4; global int*e=p+4; while (p!=e) *p++=x[i];",
        1024,
    ),
    "ptr phi if": (
        "global int*p; if (i&1) p=out+i; else p=out+i+1; *p=x[i];",
        1024,
    ),
    "2d private": (
        "int t[4][4]; for (int a=0;a<4;a++) for (int b=0;b<4;b++) t[a][b]=x[(i*a+b)%n]; "
        "out[i]=t[i&3][(i>>2)&3];",
        1024,
    ),
    "char ptr": (
        "global uchar*p=(global uchar*)out; p[i*4+2]=x[i];",
        1024,
    ),
    "long ptr": (
        "global long*p=(global long*)out; p[i]=x[i];",
        1024,
    ),
    "memset struct": (
        "typedef struct {int a[4];} T; T t={{0}}; ((global T*)out)[i]=t;",
        1024,
    ),
    "memcpy struct": (
        "typedef struct {int a[4];} T; ((global T*)out)[i]=((global const T*)x)[i/4];",
        1024,
    ),
    "comma macro": (
        "out[(i,n-1-i)]=x[i];",
        1024,
    ),
    "guarded loop inner": (
        "if (i<n) { for (int j=0;j<3;j++) { if (x[(i+j)%1024]&1) { out[i*3+j]=1; } } }",
        900,
    ),
    "loop cond changes": (
        "int a=i; while (a<1000) { if (a<500) { out[i*4]=a; a+=300; } else { out[i*4+1]=a; "
        "a+=x[a]&255; a++; } }",
        1024,
    ),
    "val reassigned": (
        "int a=i; if (a<100) { for (int j=0;j<10;j++) { out[i*4+(a&3)]=x[a]; a=(a*3+1)&1023; } }",
        1024,
    ),
    "guard then mod": (
        "int a=x[i]; for (int j=0;j<4;j++) { if (a<512) { out[i]=x[a+511]; } a=(a+300)&1023; }",
        1024,
    ),
    "outer guard var": (
        "for (int a=0;a<8;a++) { if (a<4) { for (int b=a;b<4;b++) out[i*4+b]=x[a*4+b]; } else { "
        "for (int b=0;b<4;b++) out[i*4+b]+=x[a*4+b]; } }",
        1024,
    ),
    "nested dep": (
        "int p=i*4; for (int a=0;a<2;a++) { for (int b=0;b<2;b++) out[p+b]=x[b]; p+=2; }",
        1024,
    ),
    "loop exit val": (
        "int j=0; while (j<n && x[j]!=7) j++; if (j<n) out[i]=x[j]; else out[i]=j;",
        1024,
    ),
    "loop exit val2": (
        "int j=i; while (j>=16) j-=16; out[i]=x[j];",
        1024,
    ),
    "loop exit val3": (
        "int j=i; do j+=5; while (j<n); out[i]=x[j-5];",
        1024,
    ),
    "break idx": (
        "int f=-1; for (int j=0;j<n;j++) if (x[j]==i) { f=j; break; } if (f>=0) out[i]=x[f];",
        1024,
    ),
    "goto back": (
        "int j=0; again: out[i*3+j]=x[j]; j++; if (j<3) goto again;",
        1024,
    ),
    "multi latch": (
        "int j=0,s=0; while (j<n) { if (x[j]&1) { j+=3; continue; } s+=x[j]; j++; } out[i]=s;",
        1024,
    ),
    "uchar carry": (
        "uchar c=0; int s=0; for (int j=0;j<300;j++) { s+=x[c]; c+=3; } out[i]=s;",
        1024,
    ),
    "ushort up": (
        "int s=0; for (ushort c=i;c<2000;c+=50) s+=x[c&1023]; out[i]=s;",
        1024,
    ),
    "short dn": (
        "int s=0; for (short c=1000;c>=0;c-=(short)64) s+=x[c]; out[i]=s;",
        1024,
    ),
    "neg start": (
        "int s=0; for (int j=-8;j<8;j++) s+=x[j+8]; out[i]=s;",
        1024,
    ),
    "ult neg start": (
        "int s=0; for (int j=-8;(uint)(j+8)<16u;j++) s+=x[j+8]; out[i]=s;",
        1024,
    ),
    "ne step 2": (
        "int s=0; for (int j=0;j!=64;j+=2) s+=x[j]; out[i]=s;",
        1024,
    ),
    "sat loop": (
        "int s=0; for (uint j=0xfffffff0u;j!=5u;j++) s+=x[j+16u]; out[i]=s;",
        1024,
    ),
    "wrap write": (
        "for (uint j=0xfffffffeu;j!=2u;j++) out[i*4+j+2u]=x[i];",
        1024,
    ),
    "int wide lim": (
        "int s=0; for (int j=0;(long)j<(long)n+5L-5L;j++) s+=x[j]; out[i]=s;",
        1024,
    ),
    "size_t lim": (
        "int s=0; for (int j=0;j<get_local_size(0);j++) s+=x[j]; out[i]=s;",
        1024,
    ),
    "dec size_t": (
        "int s=0; for (size_t j=get_local_size(0);j>0;j-=4) s+=x[j-1]; out[i]=s;",
        1024,
    ),
    "gid loop dn": (
        "int s=0; for (int j=i;j>=0;j-=get_local_size(0)) s+=x[j]; out[i]=s;",
        1024,
    ),
    "gid loop dn size_t": (
        "int s=0; for (size_t j=get_global_id(0);j<n;j-=get_local_size(0)) s+=x[j]; out[i]=s;",
        1024,
    ),
    "switch in loop": (
        "int st=0; for (int j=0;j<20;j++) { switch(st) { case 0: st=x[(i+j)&1023]&3; break; case "
        "1: out[i*4+1]=j; st=2; break; case 2: out[i*4+2]=j; st=3; break; default: out[i*4+3]=j; "
        "st=0; } }",
        1024,
    ),
    "state idx": (
        "int st=i; for (int j=0;j<20;j++) { if (st<10) st=x[st]; else if (st<500) st=st*2; else "
        "st-=499; out[i*4+(j&3)]=x[st]; }",
        1024,
    ),
}


@pytest.fixture(scope="module")
def oracle(pair: OpenPair) -> SliceOracle:
    return SliceOracle(pair.devices[0])


@pytest.mark.parametrize("name", BODIES)
def test_splitting_changes_no_byte(oracle: SliceOracle, name: str) -> None:
    body, n = BODIES[name]
    source = (
        "kernel void k(global const int *x, global int *out, int n)"
        f" {{ int i = get_global_id(0); {body} }}"
    )
    x = np.random.default_rng(0).integers(0, N, N).astype(np.int32)
    values = [x, np.full(4 * N, -7, np.int32), n]
    _, fault = oracle.check(source, values, (N,), (16,), shares=((0.37, 0.63),))
    assert not fault
